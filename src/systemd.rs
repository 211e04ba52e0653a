//! Word to the service manager: the part of `sd_notify(3)` that a unit of `Type=notify` needs.
//!
//! One datagram for each change, to the socket that `NOTIFY_SOCKET` names. Without the variable
//! nobody is told anything.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::settings::Env;

/// How long a manager that does not read may hold up a reload.
const PATIENCE: Duration = Duration::from_secs(1);

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub struct Systemd(Option<UnixDatagram>);

impl Systemd {
    /// Whoever the environment names. A socket that cannot be had is a line in the log: the
    /// manager will say the rest.
    pub fn of(env: &Env) -> Self {
        let Some(name) = env.get("NOTIFY_SOCKET") else { return Self::default() };
        let socket = connect(name).inspect_err(|error| {
            tracing::warn!("NOTIFY_SOCKET '{name}': {error}; systemd will not know the state");
        });
        Self(socket.ok())
    }

    /// Every worker takes requests, or a reload is over.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The configuration is loaded again.
    pub fn reloading(&self) {
        self.tell("RELOADING=1");
    }

    /// The drain has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    fn tell(&self, state: &str) {
        let sent = self.0.as_ref().map_or(Ok(0), |socket| socket.send(state.as_bytes()));
        if let Err(error) = sent {
            tracing::warn!("systemd was not told {state}: {error}");
        }
    }
}

/// A name that begins with `@` is in Linux' abstract namespace.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 64];
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn an_abstract_socket_is_told_each_state() {
        let name = format!("silverback-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let env = [("NOTIFY_SOCKET", format!("@{name}"))].into_iter().collect();
        let systemd = Systemd::of(&env);
        systemd.ready();
        systemd.reloading();
        systemd.stopping();
        let told = [(); 3].map(|()| received(&manager));
        assert_eq!(told, ["READY=1", "RELOADING=1", "STOPPING=1"]);
    }

    #[test]
    fn without_a_socket_nobody_is_told() {
        Systemd::default().ready();
        let env = [("NOTIFY_SOCKET", "/nowhere/notify")].into_iter().collect();
        assert!(Systemd::of(&env).0.is_none());
    }
}
