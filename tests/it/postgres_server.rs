//! Real Postgres servers for tests: Debian's, which lacks the extension `vector`, and PGlite, which
//! is Postgres compiled for Node and has it.

use std::fs::Permissions;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::http::closed_port;
use super::sdk;

/// A Postgres of its own, on a port of the system's choosing.
pub struct Postgres {
    server: Child,
    /// Its port.
    pub port: u16,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// One whose user `postgres` has the password `s3cret`, checked by SCRAM.
    pub fn start() -> Self {
        Self::start_with(None)
    }

    /// The same with a certificate and its key, out of these files.
    pub fn start_with_tls(cert: &str, key: &str) -> Self {
        Self::start_with(Some((cert, key)))
    }

    fn start_with(tls: Option<(&str, &str)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let password = folder.path().join("password");
        std::fs::write(&password, "s3cret\n").unwrap();
        let mut settings = Vec::new();
        if let Some((cert, key)) = tls {
            // It takes keys that nobody else can read, and that are its own.
            for (setting, from) in [("ssl_cert_file", cert), ("ssl_key_file", key)] {
                let path = folder.path().join(setting);
                std::fs::copy(from, &path).unwrap();
                std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
                settings.push(format!("{setting}={}", path.display()));
            }
            settings.push("ssl=on".to_owned());
        }
        // It refuses to run as root.
        let owner = is_root().then(|| {
            let _ = run(Command::new("chown").args(["-R", "postgres"]).arg(folder.path()));
        });
        let command = |name: &str| match owner {
            Some(()) => {
                let mut command = Command::new("setpriv");
                command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups"]);
                command.arg(binary(name));
                command
            }
            None => Command::new(binary(name)),
        };
        let made = run(command("initdb")
            .current_dir(folder.path())
            .args(["-U", "postgres", "-A", "scram-sha-256", "-N", "--pwfile"])
            .arg(&password)
            .arg("-D")
            .arg(&data));
        assert!(made, "initdb failed; a Postgres server is needed: apt-get install postgresql");
        let spawn = |port: u16| {
            let mut server = command("postgres");
            server.current_dir(folder.path()).arg("-D").arg(&data);
            let sockets = format!("unix_socket_directories={}", folder.path().display());
            let port = format!("port={port}");
            let own = ["listen_addresses=127.0.0.1", &port, &sockets, "fsync=off"];
            let own = own.into_iter().chain(settings.iter().map(String::as_str));
            for setting in own {
                server.args(["-c", setting]);
            }
            server.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
        };
        let free = || closed_port().local_addr().unwrap().port();
        let port = free();
        let mut started = Self { server: spawn(port), port, _folder: folder };
        for _ in 0..1500 {
            if started.asked("postgres", "SELECT 1").is_some() {
                started.ask("postgres", "CREATE DATABASE vectors");
                return started;
            }
            assert!(started.server.try_wait().unwrap().is_none(), "postgres ends: {settings:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("postgres does not start");
    }

    /// What `psql` says to a statement in the database of the vectors.
    pub fn say(&self, sql: &str) -> String {
        self.ask("vectors", sql)
    }

    fn ask(&self, database: &str, sql: &str) -> String {
        self.asked(database, sql).unwrap_or_else(|| panic!("{sql}"))
    }

    fn asked(&self, database: &str, sql: &str) -> Option<String> {
        let mut psql = Command::new(binary("psql"));
        psql.args(["-h", "127.0.0.1", "-U", "postgres", "-At", "-p", &self.port.to_string()]);
        psql.args(["-d", database, "-c", sql]).env("PGPASSWORD", "s3cret");
        let asked = psql.stderr(Stdio::null()).output().unwrap();
        let answer = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
        asked.status.success().then_some(answer)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // An immediate shutdown: it takes its children along.
        let _ = run(Command::new("kill").args(["-QUIT", &self.server.id().to_string()]));
        let _ = self.server.wait();
    }
}

/// PGlite with pgvector behind a socket.
pub struct Pglite {
    server: Child,
    /// Its port.
    pub port: u16,
}

impl Pglite {
    /// One without data; `None` where the tests with other people's packages are left out.
    pub fn start(test: &str) -> Option<Self> {
        if sdk::is_skipped(test) {
            return None;
        }
        let mut server = Command::new("node")
            .arg("pglite.mjs")
            .current_dir(sdk::folder())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node is missing: run tests/sdk/setup");
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse();
        let port = port.unwrap_or_else(|_| panic!("pglite.mjs: {line}; run tests/sdk/setup"));
        Some(Self { server, port })
    }
}

impl Drop for Pglite {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout.starts_with(b"0\n")
}

fn run(command: &mut Command) -> bool {
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// A program of Postgres; Debian keeps those of its servers out of the path.
fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found = versions.map(|version| version.path().join("bin").join(name));
    let mut found: Vec<PathBuf> = found.filter(|path| path.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| Path::new(name).to_owned())
}
