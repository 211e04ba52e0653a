//! The PROXY protocol, versions 1 and 2: a load balancer says who the client is, in front of
//! everything else, TLS included.
//!
//! As in nginx the header must be there on a listener that asks for it. Who is believed is decided
//! by `trusted_ips` and `real_ip_header`.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;

/// The longest header of version 1, its line end included.
const V1_MAX: usize = 107;
/// The shortest: `PROXY UNKNOWN` and a line end.
const V1_MIN: usize = 15;
/// The longest header of version 2 (nginx).
const V2_MAX: usize = 4096;
/// What version 2 begins with.
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// A stream that can be looked into without taking anything.
pub(crate) trait Peek: AsyncRead + Unpin {
    async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize>;
}

impl Peek for TcpStream {
    async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Self::peek(self, buffer).await
    }
}

/// Reads the header, and not a byte more. `None`: it names nobody, such as for a health check of
/// the balancer itself.
///
/// # Errors
/// There is no header, or one that is none. It reads a few KiB at most.
pub(crate) async fn read(stream: &mut impl Peek) -> io::Result<Option<SocketAddr>> {
    let mut beginning = [0; V1_MIN];
    stream.read_exact(&mut beginning).await?;
    if beginning.starts_with(V2_SIGNATURE) {
        return read_v2(stream, &beginning).await;
    }
    if !beginning.starts_with(b"PROXY ") {
        return Err(broken());
    }
    let mut line = beginning.to_vec();
    while line.last() != Some(&b'\n') {
        let mut more = [0; V1_MAX];
        let room = V1_MAX - line.len();
        let seen = stream.peek(&mut more[..room]).await?;
        if seen == 0 {
            return Err(broken());
        }
        // All of it belongs to the header up to the end of its line.
        let end = memchr::memchr(b'\n', &more[..seen]).map_or(seen, |at| at + 1);
        let read = stream.read_exact(&mut more[..end]).await?;
        line.extend_from_slice(&more[..read]);
    }
    parse_v1(&line).ok_or_else(broken)
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "broken header of the PROXY protocol")
}

fn parse_v1(line: &[u8]) -> Option<Option<SocketAddr>> {
    let line = std::str::from_utf8(line).ok()?.strip_suffix("\r\n")?;
    let mut words = line.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let (source, destination) = (words.next()?, words.next()?);
    let (port, destination_port) = (words.next()?, words.next()?);
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::from),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::from),
            _ => None,
        }
    };
    let number = |text: &str| text.parse::<u16>().ok().filter(|_| !text.starts_with('+'));
    let source = SocketAddr::new(address(source)?, number(port)?);
    let is_whole = words.next().is_none()
        && address(destination).is_some()
        && number(destination_port).is_some();
    is_whole.then_some(Some(canonical(source)))
}

/// Version 2 behind its first bytes: what is left of 16, then as many as those say.
async fn read_v2(stream: &mut impl Peek, beginning: &[u8]) -> io::Result<Option<SocketAddr>> {
    let mut head = [0; 16];
    head[..V1_MIN].copy_from_slice(beginning);
    stream.read_exact(&mut head[V1_MIN..]).await?;
    let [.., version_and_command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if version_and_command >> 4 != 2 || length + head.len() > V2_MAX {
        return Err(broken());
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    const PROXY: u8 = 1;
    if version_and_command & 0x0F != PROXY {
        return Ok(None);
    }
    // What stands behind the addresses, such as a VPC endpoint's id, is for nobody here.
    match family >> 4 {
        1 => Ok(Some(source::<4>(&rest)?)),
        2 => Ok(Some(source::<16>(&rest)?)),
        _ => Ok(None),
    }
}

/// Source and destination, then their ports.
fn source<const N: usize>(addresses: &[u8]) -> io::Result<SocketAddr>
where
    IpAddr: From<[u8; N]>,
{
    let ip = addresses.first_chunk::<N>().ok_or_else(broken)?;
    let ports = addresses.get(2 * N..).and_then(<[u8]>::first_chunk::<4>).ok_or_else(broken)?;
    let port = u16::from_be_bytes([ports[0], ports[1]]);
    Ok(canonical(SocketAddr::new(IpAddr::from(*ip), port)))
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream of everything there is.
    impl Peek for &[u8] {
        async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let there = self.len().min(buffer.len());
            buffer[..there].copy_from_slice(&self[..there]);
            Ok(there)
        }
    }

    async fn header(bytes: &[u8]) -> Option<(Option<SocketAddr>, usize)> {
        let mut rest = bytes;
        read(&mut rest).await.ok().map(|client| (client, rest.len()))
    }

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let mut header = V2_SIGNATURE.to_vec();
        header.extend_from_slice(&[0x20 | command, family]);
        header.extend_from_slice(&u16::try_from(rest.len()).unwrap().to_be_bytes());
        header.extend_from_slice(rest);
        header
    }

    #[tokio::test]
    async fn version_1_names_the_client() {
        for (line, client) in [
            ("PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\r\n", Some("203.0.113.7:4711")),
            ("PROXY TCP6 2001:db8::7 ::1 4711 443\r\n", Some("[2001:db8::7]:4711")),
            ("PROXY TCP6 ::ffff:203.0.113.7 ::1 4711 443\r\n", Some("203.0.113.7:4711")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", None),
        ] {
            let text = format!("{line}GET /");
            let client = client.map(|client| client.parse().unwrap());
            assert_eq!(header(text.as_bytes()).await, Some((client, 5)), "{line}");
        }
    }

    #[tokio::test]
    async fn version_2_names_the_client() {
        let v4 = [203, 0, 113, 7, 10, 0, 0, 1, 0x12, 0x67, 1, 187];
        let mut bytes = v2(1, 0x11, &v4);
        bytes.extend_from_slice(b"GET /");
        let client = "203.0.113.7:4711".parse().ok();
        assert_eq!(header(&bytes).await, Some((client, 5)));
        let with_more = v2(1, 0x11, &[&v4[..], &[4, 0, 1, 9]].concat());
        assert_eq!(header(&with_more).await, Some((client, 0)));
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[32..34].copy_from_slice(&80_u16.to_be_bytes());
        assert_eq!(header(&v2(1, 0x21, &v6)).await, Some(("[::1]:80".parse().ok(), 0)));
        assert_eq!(header(&v2(0, 0, &[])).await, Some((None, 0)), "a health check");
        assert_eq!(header(&v2(1, 0x31, &[0; 216])).await, Some((None, 0)), "a socket file");
    }

    #[tokio::test]
    async fn what_is_no_header_is_an_error() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(V1_MAX));
        for text in [
            "",
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 4711\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 4711 443 1\r\n",
            "PROXY TCP4 ::1 ::1 4711 443\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 99999 443\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 +4711 443\r\n",
            "PROXY UDP4 203.0.113.7 10.0.0.1 4711 443\r\n",
            "PROXY TCP4 203.0.113.7 10.0.0.1 4711 443\n",
            "PROXY TCP4 203.0.113.7",
            &long,
        ] {
            assert_eq!(header(text.as_bytes()).await, None, "{text:?}");
        }
        let mut version_3 = v2(1, 0x11, &[0; 12]);
        version_3[12] = 0x31;
        let endless = [&V2_SIGNATURE[..], &[0x21, 0x11, 0xFF, 0xFF]].concat();
        for bytes in [version_3, endless, v2(1, 0x11, &[0; 8])] {
            assert_eq!(header(&bytes).await, None, "{bytes:?}");
        }
    }
}
