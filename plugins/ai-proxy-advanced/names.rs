//! What the fields of a target are called where it is written down.
//!
//! Plugins that ask a model by themselves have other records for it than ai-proxy, so whoever says
//! what is wrong with a target asks here for the names.

/// What a plugin calls fields: paths in a target, or beginnings of such, with its own ones.
pub(in crate::plugins) type Own = &'static [(&'static str, &'static str)];

/// The place of a target, and its fields' names there.
#[derive(Clone)]
pub(in crate::plugins) struct FieldNames {
    place: String,
    own: Own,
}

impl FieldNames {
    /// A target at this place of the configuration, with names of its own.
    pub(in crate::plugins) fn new(place: impl Into<String>, own: Own) -> Self {
        Self { place: place.into(), own }
    }

    /// Where the target is.
    pub(in crate::plugins) fn place(&self) -> &str {
        &self.place
    }

    /// A field's whole path in the configuration.
    pub(in crate::plugins) fn path(&self, field: &str) -> String {
        let own = self.own(field);
        format!("{}.{}", self.place, own.as_deref().unwrap_or(field))
    }

    /// A field in a line that has named the target before: in short, where its name is the usual.
    pub(in crate::plugins) fn beside(&self, field: &str) -> String {
        self.own(field).map_or_else(|| field.to_owned(), |own| format!("{}.{own}", self.place))
    }

    fn own(&self, field: &str) -> Option<String> {
        let mut own = self.own.iter();
        own.find_map(|(usual, own)| Some(format!("{own}{}", field.strip_prefix(usual)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_of_their_plugin() {
        let usual = FieldNames::new("config.targets[1]", &[]);
        assert_eq!(usual.path("auth.azure_tenant_id"), "config.targets[1].auth.azure_tenant_id");
        assert_eq!(usual.beside("auth.azure_tenant_id"), "auth.azure_tenant_id");
        let own = FieldNames::new("config", &[("auth.azure_", "azure_"), ("model.x", "y")]);
        assert_eq!(own.path("auth.azure_tenant_id"), "config.azure_tenant_id");
        assert_eq!(own.beside("auth.azure_tenant_id"), "config.azure_tenant_id");
        assert_eq!(own.path("model.x"), "config.y");
        assert_eq!(own.path("auth.header_name"), "config.auth.header_name");
    }
}
