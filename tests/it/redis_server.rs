//! A real Redis for tests, on a port of the system's choosing.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::{TcpListener, UnixStream};

/// Between two looks at what another process does.
pub const PAUSE: Duration = Duration::from_millis(2);

/// A Redis that is reached over TCP, on a port of the system's choosing.
pub struct Redis {
    server: Child,
    /// Its port.
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Redis {
    /// One without data.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// One with more arguments on its command line.
    pub async fn start_with(more: &[&str]) -> Self {
        Self::start_program(Path::new("redis-server"), more).await
    }

    /// A server that understands the same command line.
    pub async fn start_program(program: &Path, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = ["--port", "0", "--save", ""];
        Self::launch(program, folder, &[&port[..], more].concat()).await
    }

    /// A sentinel that watches a server under a name.
    pub async fn sentinel(name: &str, of: &Self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("sentinel.conf");
        let watch = format!("port 0\nsentinel monitor {name} 127.0.0.1 {} 1\n", of.port);
        std::fs::write(&file, watch).unwrap();
        let args = [file.to_str().unwrap(), "--sentinel"];
        Self::launch(Path::new("redis-server"), folder, &args).await
    }

    /// `args` come first: a file has to.
    async fn launch(program: &Path, folder: tempfile::TempDir, args: &[&str]) -> Self {
        let server = Command::new(program)
            .args(args)
            .args(["--unixsocket", "redis.sock", "--dir"])
            .arg(folder.path())
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: apt-get install redis-server");
        let path = folder.path().join("redis.sock");
        let mut server = server;
        while UnixStream::connect(&path).await.is_err() && server.try_wait().unwrap().is_none() {
            tokio::time::sleep(PAUSE).await;
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let mut server = UnixStream::connect(&path).await.unwrap();
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { server, port, folder }
    }

    /// Asks until the answer is as wanted: Lua's timers write to it.
    pub async fn wait(&self, args: &[&str], wanted: impl Fn(&String) -> bool) -> String {
        for _ in 0..400 {
            let answer = self.ask(args);
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{args:?} is {}", self.ask(args));
    }

    /// What `redis-cli` says to a command.
    pub fn ask(&self, args: &[&str]) -> String {
        let socket = self.folder.path().join("redis.sock");
        let asked = Command::new("redis-cli").arg("-s").arg(socket).args(args).output().unwrap();
        String::from_utf8_lossy(&asked.stdout).trim().to_owned()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Two nodes that share the slots of a cluster.
pub struct Cluster(pub [Redis; 2]);

impl Cluster {
    /// One without data.
    pub async fn start() -> Self {
        let nodes = [Self::node().await, Self::node().await];
        let (first, second) = (&nodes[0], &nodes[1]);
        first.ask(&["cluster", "addslotsrange", "0", "8191"]);
        second.ask(&["cluster", "addslotsrange", "8192", "16383"]);
        let port = second.ask(&["config", "get", "port"]);
        let bus = second.ask(&["config", "get", "cluster-port"]);
        let last = |answer: &str| answer.lines().last().unwrap().to_owned();
        first.ask(&["cluster", "meet", "127.0.0.1", &last(&port), &last(&bus)]);
        for node in &nodes {
            node.wait(&["cluster", "info"], |info| info.contains("cluster_state:ok")).await;
        }
        Self(nodes)
    }

    /// Nodes tell each other and their clients their ports, so these are real ones, and another
    /// process may take them first.
    async fn node() -> Redis {
        loop {
            let free = [0, 1].map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
            let [port, bus] = free.map(|one| one.local_addr().unwrap().port().to_string());
            let folder = tempfile::tempdir().unwrap();
            let on = ["--cluster-enabled", "yes", "--bind", "127.0.0.1", "--save", ""];
            let ports = ["--port", &port, "--cluster-port", &bus];
            let args = [&on[..], &ports].concat();
            let mut node = Redis::launch(Path::new("redis-server"), folder, &args).await;
            if node.server.try_wait().unwrap().is_none() && node.ask(&["ping"]) == "PONG" {
                node.port = port.parse().unwrap();
                return node;
            }
        }
    }
}
