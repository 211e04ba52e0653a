//! `ngx.socket.udp`: datagrams to one peer.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::{Rc, Weak};
use std::time::Duration;

use mlua::{Function, Lua, MultiValue, Value};
use tokio::net::{UdpSocket, UnixDatagram};

use super::args::{self, Args, object, waiter};
use super::conn::{Busy, Failure, WAIT};
use super::connect::failed;
use crate::lua::bind::{self, Answer};
use crate::lua::network::Net;
use crate::lua::ngx::one;
use crate::lua::owner::{Closes, Owner};

/// The registry's name for the metatable of UDP sockets.
const UDP: &str = "silverback.udp";
/// The longest datagram that is read.
const DATAGRAM: usize = 65_536;

enum Datagrams {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// What a Lua object of `ngx.socket.udp` stands for.
struct Socket {
    peer: RefCell<Option<Rc<Datagrams>>>,
    owner: RefCell<Weak<Owner>>,
    read: Cell<Duration>,
    is_busy: Cell<bool>,
}

impl Closes for Socket {
    fn close(&self) {
        drop(self.peer.borrow_mut().take());
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(owner) = self.owner.take().upgrade() {
            owner.remove(std::ptr::from_ref(self));
        }
    }
}

impl Socket {
    /// Whether somebody else's turn it is to use this socket.
    fn is_anothers(&self, owner: &Rc<Owner>) -> bool {
        self.peer.borrow().is_some()
            && !std::ptr::eq(self.owner.borrow().as_ptr(), Rc::as_ptr(owner))
    }

    fn peer(&self) -> Option<Rc<Datagrams>> {
        self.peer.borrow().clone()
    }
}

/// The function that makes them.
pub(super) fn install(lua: &Lua) -> mlua::Result<Function> {
    let methods = lua.create_table()?;
    methods.set("setpeername", bind::waiting(lua, setpeername)?)?;
    methods.set("send", bind::waiting(lua, send)?)?;
    methods.set("receive", bind::waiting(lua, receive)?)?;
    methods.set("settimeout", bind::function(lua, settimeout)?)?;
    methods.set("close", bind::function(lua, close)?)?;
    let meta = lua.create_table()?;
    meta.set("__index", methods)?;
    lua.set_named_registry_value(UDP, meta)?;
    bind::function(lua, udp)
}

fn udp(lua: &Lua, args: MultiValue) -> Answer {
    args::none(&args)?;
    waiter(lua)?;
    let socket = Rc::new(Socket {
        peer: RefCell::default(),
        owner: RefCell::default(),
        read: Cell::new(WAIT),
        is_busy: Cell::new(false),
    });
    object(lua, UDP, socket)
}

async fn setpeername(lua: Lua, args: MultiValue) -> Answer {
    let args = Args::new("setpeername", args);
    if !(2..=3).contains(&args.len()) {
        let seen = format!("arguments (including the object), but seen {}", args.len());
        return Err(format!("ngx.socket.udp setpeername: expecting 2 or 3 {seen}").into());
    }
    let socket: Rc<Socket> = args.socket()?;
    let owner = waiter(&lua)?;
    if socket.is_anothers(&owner) {
        return Err("bad request".into());
    }
    if socket.is_busy.get() {
        return failed(&lua, "socket busy");
    }
    socket.close();
    let _busy = Busy::new(&socket.is_busy);
    let host = args.text(&lua, 1)?.to_string_lossy();
    let port = match args.port(&lua, 2)? {
        Some(Ok(port)) => port,
        Some(Err(bad)) => return failed(&lua, bad),
        None => 0,
    };
    let opened = match host.strip_prefix("unix:") {
        Some(path) => unix(path).map(Datagrams::Unix).map_err(Failure::Io),
        None => match Net::of(&lua) {
            None => Err(Failure::Told("no network".to_owned())),
            Some(net) => match net.address(&host, port).await {
                Ok(address) => dial(address).await.map(Datagrams::Udp).map_err(Failure::Io),
                Err(told) => Err(Failure::Told(told)),
            },
        },
    };
    match opened {
        Ok(peer) => {
            *socket.peer.borrow_mut() = Some(Rc::new(peer));
            *socket.owner.borrow_mut() = Rc::downgrade(&owner);
            owner.add(&socket);
            one(&lua, 1)
        }
        Err(failure) => failed(&lua, failure.text()),
    }
}

fn unix(path: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(path)?;
    Ok(socket)
}

async fn dial(address: SocketAddr) -> io::Result<UdpSocket> {
    let own: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// The peer for somebody who may speak to it, or what to answer instead.
fn opened(lua: &Lua, socket: &Socket) -> Result<Result<Rc<Datagrams>, MultiValue>, bind::Fault> {
    let owner = waiter(lua)?;
    let Some(peer) = socket.peer() else { return Ok(Err(failed(lua, "closed")?)) };
    if socket.is_anothers(&owner) {
        return Err("bad request".into());
    }
    Ok(Ok(peer))
}

async fn send(lua: Lua, args: MultiValue) -> Answer {
    let args = Args::new("send", args);
    args.expect(2)?;
    let socket: Rc<Socket> = args.socket()?;
    let peer = match opened(&lua, &socket)? {
        Ok(peer) => peer,
        Err(answer) => return Ok(answer),
    };
    if socket.is_busy.get() {
        return failed(&lua, "socket busy");
    }
    let data = args.data(&lua, 1)?;
    let sent = match &*peer {
        Datagrams::Udp(udp) => udp.send(&data).await,
        Datagrams::Unix(unix) => unix.send(&data).await,
    };
    match sent {
        Ok(_) => one(&lua, 1),
        Err(error) => failed(&lua, Failure::Io(error).text()),
    }
}

/// `sock:receive(size?)`: one datagram, cut off after so many bytes.
async fn receive(lua: Lua, args: MultiValue) -> Answer {
    let args = Args::new("receive", args);
    let socket: Rc<Socket> = args.socket()?;
    let peer = match opened(&lua, &socket)? {
        Ok(peer) => peer,
        Err(answer) => return Ok(answer),
    };
    if socket.is_busy.get() {
        return failed(&lua, "socket busy");
    }
    let most = args.number(&lua, 1)?.filter(|size| (0.0..65_536.0).contains(size));
    let mut buffer = vec![0; most.map_or(DATAGRAM, |most| most as usize)];
    let busy = Busy::new(&socket.is_busy);
    let reading = async {
        match &*peer {
            Datagrams::Udp(udp) => udp.recv(&mut buffer).await,
            Datagrams::Unix(unix) => unix.recv(&mut buffer).await,
        }
    };
    let read = tokio::time::timeout(socket.read.get(), reading).await;
    drop(busy);
    match read {
        Ok(Ok(count)) => one(&lua, lua.create_string(buffer.get(..count).unwrap_or_default())?),
        Ok(Err(error)) => failed(&lua, Failure::Io(error).text()),
        Err(_) => failed(&lua, "timeout"),
    }
}

fn settimeout(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("settimeout", args);
    let socket: Rc<Socket> = args.socket()?;
    let ms = args.number(lua, 1)?.unwrap_or_default();
    if !(0.0..f64::from(i32::MAX)).contains(&ms) {
        return Err("bad timeout value".into());
    }
    socket.read.set(if ms < 1.0 { WAIT } else { Duration::from_millis(ms as u64) });
    one(lua, ())
}

fn close(lua: &Lua, args: MultiValue) -> Answer {
    let args = Args::new("close", args);
    let socket: Rc<Socket> = args.socket()?;
    if let Err(answer) = opened(lua, &socket)? {
        return Ok(answer);
    }
    if socket.is_busy.get() {
        return failed(lua, "socket busy");
    }
    socket.close();
    if let Some(owner) = socket.owner.take().upgrade() {
        owner.remove(Rc::as_ptr(&socket));
    }
    one(lua, Value::Integer(1))
}
