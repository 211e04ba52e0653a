//! The list of models, which clients may ask for beside any route type for a model.

use http::Method;

use crate::llm::error::Error;
use crate::llm::operation::{self, Naming};
use crate::llm::plan::{Plan, Prepared};
use crate::llm::site::Located;
use crate::llm::template::Client;

impl Plan {
    /// A client may ask for the models where it asks them something (not in Kong).
    pub(super) fn list_of_models(
        &self,
        located: &Located,
        client: &Client<'_>,
    ) -> Result<Option<Prepared>, Error> {
        let has_models = matches!(self.operation.naming, Naming::Always | Naming::Creation);
        let reads = matches!(*client.method, Method::GET | Method::HEAD);
        let Some(prefix) = located.prefix.as_deref().filter(|_| has_models && reads) else {
            return Ok(None);
        };
        let branch = operation::models_branch(client.raw_path, client.path)?;
        let Some(rest) = branch else { return Ok(None) };
        let path = [prefix, operation::MODELS, rest].concat();
        Ok(Some(Prepared {
            endpoint: located.endpoint.clone(),
            target: self.with_query(&path, located, None, client)?,
            body: None,
            credential: self.credential.header(client),
            model: None,
            model_header: None,
            stream: false,
            hides_usage: false,
            is_free: false,
            is_checked: false,
            azure: located.names.clone(),
        }))
    }
}
