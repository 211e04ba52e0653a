//! An app registration that proves itself with a secret.

use std::time::Duration;

use super::{About, App, Calling, Source, entra};
use crate::azure::clients::Clients;
use crate::azure::diagnosis::Silence;
use crate::azure::failure::Cause;
use crate::azure::identity::{Fact, Given};
use crate::entity::Secret;

#[derive(Debug)]
pub(in crate::azure) struct ClientSecret {
    pub(in crate::azure) app: App,
    pub(in crate::azure) secret: Given<Secret>,
}

impl Source for ClientSecret {
    fn about(&self) -> About<'_> {
        About {
            proof: vec![Fact::new("secret", "***", self.secret.from)],
            hidden: vec![self.secret.value.expose()],
            ..About::app("client secret", &self.app)
        }
    }

    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a> {
        let proof = [("client_secret", self.secret.value.expose())];
        Box::pin(async move { self.app.post(self, clients, scope, &proof).await })
    }

    fn pause(&self, cause: &Cause, attempts: u32) -> Option<Duration> {
        entra::pause(cause, attempts)
    }

    fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        self.app.explain_silence(silence)
    }
}
