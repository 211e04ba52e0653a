//! Opening listeners, with what Kong's words for them ask for.

use std::io;
use std::net::TcpListener;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::settings::{Keepalive, Listen};

/// nginx' length of the queue of connections that wait to be accepted.
const BACKLOG: i32 = 511;

/// Opens a listener. Its connections inherit what is set on it.
///
/// # Errors
/// The system refuses the address.
pub fn open(listen: &Listen) -> io::Result<TcpListener> {
    let domain = Domain::for_address(listen.address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the old process.
    socket.set_reuse_address(true)?;
    if listen.address.is_ipv6() {
        socket.set_only_v6(listen.ipv6only)?;
    }
    keep_alive(&socket, listen.keepalive)?;
    socket.bind(&listen.address.into())?;
    socket.listen(listen.backlog.unwrap_or(BACKLOG))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

fn keep_alive(socket: &Socket, keepalive: Keepalive) -> io::Result<()> {
    let Some(on) = keepalive.on else { return Ok(()) };
    socket.set_keepalive(on)?;
    let mut times = TcpKeepalive::new();
    let mut is_given = false;
    if let Some(idle) = keepalive.idle {
        (times, is_given) = (times.with_time(idle), true);
    }
    if let Some(interval) = keepalive.interval {
        (times, is_given) = (times.with_interval(interval), true);
    }
    if let Some(probes) = keepalive.probes {
        (times, is_given) = (times.with_retries(probes), true);
    }
    if is_given { socket.set_tcp_keepalive(&times) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_listener_keeps_what_it_was_told() {
        let text = "127.0.0.1:0 so_keepalive=30s::3 backlog=1, [::]:0 ipv6only=off";
        let list = Listen::parse_list(text).unwrap();
        let socket = Socket::from(open(&list[0]).unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        // A machine without IPv6 has no such address.
        if let Ok(listener) = open(&list[1]) {
            assert!(!Socket::from(listener).only_v6().unwrap());
        }
    }

    #[test]
    fn an_address_that_is_taken_is_an_error() {
        let first = open(&Listen::parse_list("127.0.0.1:0").unwrap()[0]).unwrap();
        let taken = Listen::plain(first.local_addr().unwrap());
        assert!(open(&taken).is_err());
    }
}
