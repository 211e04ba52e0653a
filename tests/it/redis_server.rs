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
        let server = Command::new(program)
            .args(["--port", "0", "--save", "", "--unixsocket", "redis.sock", "--dir"])
            .arg(folder.path())
            .args(more)
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is missing: apt-get install redis-server");
        let path = folder.path().join("redis.sock");
        while UnixStream::connect(&path).await.is_err() {
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
