//! Where connections of Lua code lead: names, addresses, certificates, and where they may not lead.

use std::cell::{OnceCell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use mlua::{IntoLuaMulti, Lua, MultiValue, Table, Value};
use rustls::ClientConfig;
use rustls::sign::CertifiedKey;

use super::bind::{self, Answer};
use super::ngx::socket;
use crate::dns::{Dns, Names, Unresolved};
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

    /// The address of a host, if nothing is to be opened there.
    async fn resolved(&self, host: &str, port: u16) -> Result<SocketAddr, Unresolved> {
        self.names.address(host, port).await
    }

    /// The address of a host that a plugin named.
    ///
    /// # Errors
    /// What the plugin is told: the name is not known, or nobody may go there.
    pub(super) async fn address(&self, host: &str, port: u16) -> Result<SocketAddr, String> {
        let address = self.resolved(host, port).await.map_err(|error| {
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

/// The module `silverback.dns`, on which `kong.resty.dns.client` stands.
pub(super) fn install(lua: &Lua) -> mlua::Result<()> {
    let dns = lua.create_table()?;
    dns.set("toip", bind::waiting(lua, |lua, args| async move { toip(&lua, &args).await })?)?;
    let preload: Table = lua.globals().get::<Table>("package")?.get("preload")?;
    preload.set("silverback.dns", lua.create_function(move |_, _: String| Ok(dns.clone()))?)
}

/// Address and port of a name; nil and why there is none.
async fn toip(lua: &Lua, args: &MultiValue) -> Answer {
    socket::waiter(lua)?;
    let Some(Value::String(name)) = args.front() else {
        return Err("bad argument #1 to 'toip' (string expected)".into());
    };
    let port = lua.coerce_number(args.get(1).cloned().unwrap_or(Value::Nil))?;
    let name = name.to_string_lossy();
    let found = match Net::of(lua) {
        Some(net) => {
            net.resolved(&name, port.unwrap_or_default() as u16).await.map_err(|error| error.reason)
        }
        None => Err("no network".to_owned()),
    };
    Ok(match found {
        Ok(address) => (address.ip().to_string(), address.port()).into_lua_multi(lua)?,
        Err(reason) => (Value::Nil, reason).into_lua_multi(lua)?,
    })
}
