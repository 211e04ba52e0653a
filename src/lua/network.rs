//! Where connections of Lua code lead: names, addresses, certificates, and where they may not lead.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mlua::Lua;
use rustls::ClientConfig;
use rustls::sign::CertifiedKey;

use crate::dns::{Dns, Names};
use crate::guard::{Guard, Named};
use crate::shared::Shared;
use crate::tls::UpstreamTls;

/// What a VM needs to open connections.
#[derive(Clone)]
pub struct Network {
    /// Names, as for upstreams.
    pub dns: Arc<Dns>,
    /// Whose certificates are trusted (`lua_ssl_trusted_certificate`).
    pub tls: UpstreamTls,
    /// Idle connections of a pool (`lua_socket_pool_size`).
    pub pool_size: usize,
}

impl Network {
    /// That of the process.
    pub fn of(shared: &Shared) -> Self {
        Self {
            dns: shared.dns.clone(),
            tls: shared.tls.clone(),
            pool_size: shared.settings.lua_socket_pool_size,
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network").field("pool_size", &self.pool_size).finish_non_exhaustive()
    }
}

/// The network of one VM.
pub(super) struct Net {
    names: Names,
    tls: UpstreamTls,
    pub(super) pool_size: usize,
    guard: RefCell<Guard>,
    configs: [OnceCell<Arc<ClientConfig>>; 3],
}

impl Net {
    pub(super) fn new(network: &Network) -> Rc<Self> {
        Rc::new(Self {
            names: Names::new(network.dns.clone()),
            tls: network.tls.clone(),
            pool_size: network.pool_size,
            guard: RefCell::default(),
            configs: Default::default(),
        })
    }

    /// That of a VM; `None` for the loader's.
    pub(super) fn of(lua: &Lua) -> Option<Rc<Self>> {
        lua.app_data_ref::<Rc<Self>>().map(|net| Rc::clone(&net))
    }

    /// Takes the list in force of a configuration.
    pub(super) fn set_guard(&self, guard: Guard) {
        *self.guard.borrow_mut() = guard;
    }

    /// How connections are encrypted. Those that show no certificate have their TLS sessions in
    /// common.
    ///
    /// # Errors
    /// The TLS library refuses it.
    pub(super) fn tls_config(
        &self,
        verify: bool,
        any_name: bool,
        shown: Option<Arc<CertifiedKey>>,
    ) -> Result<Arc<ClientConfig>, rustls::Error> {
        if shown.is_some() {
            return self.tls.worded(verify, any_name, shown).map(Arc::new);
        }
        let [checked, unnamed, unchecked] = &self.configs;
        let kept = match (verify, any_name) {
            (true, false) => checked,
            (true, true) => unnamed,
            (false, _) => unchecked,
        };
        if let Some(config) = kept.get() {
            return Ok(config.clone());
        }
        let config = Arc::new(self.tls.worded(verify, any_name, None)?);
        Ok(kept.get_or_init(|| config).clone())
    }

    /// The address of a host that a plugin named.
    ///
    /// # Errors
    /// What the plugin is told: the name is not known, or nobody may go there.
    pub(super) async fn address(&self, host: &str, port: u16) -> Result<SocketAddr, String> {
        let address = self.names.address(host, port).await.map_err(|error| {
            // Kong resolves names for OpenResty's sockets, and says so.
            format!(
                "[cosocket] DNS resolution failed: {}. Tried: [\"{}\"]",
                error.reason, error.name
            )
        })?;
        let checked = self.guard.borrow().check(Named::Plugin, host, address);
        checked.map_err(|refused| {
            tracing::warn!(fault = "plugin", "{refused}");
            "connection refused".to_owned()
        })?;
        Ok(address)
    }
}
