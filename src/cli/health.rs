//! `silverback health`: whether the gateway of this machine is ready; a probe where there is no
//! curl, as in a small image.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::{HealthArgs, Outcome, print, settings};
use crate::settings::Flags;

/// The longest wait for each step.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most that is read of an answer, bytes.
const ANSWER: u64 = 4096;

pub(super) fn health(args: &HealthArgs) -> Outcome {
    let given = args.status_listen.clone().map(|value| ("status_listen".to_owned(), value));
    let read = settings(&given.into_iter().collect::<Flags>(), args.conf.as_deref())?;
    let Some(listen) = read.settings.status_listen.first() else {
        return Err(vec!["status_listen is off: there is nobody to ask".to_owned()]);
    };
    let address = reachable(listen.address);
    let answer = ask(address).map_err(|error| vec![format!("{address}: {error}")])?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    if head.split(' ').nth(1) == Some("200") {
        print(&format!("{body}\n"));
        return Ok(ExitCode::SUCCESS);
    }
    let first = head.lines().next().unwrap_or_default();
    Err(vec![format!("{address} is not ready: {first} {body}")])
}

/// Nobody can connect to "every address"; loopback is one of them.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request =
        format!("GET /status/ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_asked_at_loopback() {
        let of = |text: &str| reachable(text.parse().unwrap()).to_string();
        assert_eq!(of("0.0.0.0:8007"), "127.0.0.1:8007");
        assert_eq!(of("[::]:8007"), "[::1]:8007");
        assert_eq!(of("10.0.0.1:8007"), "10.0.0.1:8007");
    }
}
