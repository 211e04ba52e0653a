//! A gateway inside the test process, and the words to talk to it.

use std::collections::HashMap;
use std::net::SocketAddr;

use silverback::config::Source;
use silverback::gateway::{Gateway, Start};
use silverback::loader::Input;
use silverback::settings::{Env, Flags, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::http::{self, Message};

/// A running gateway; it drains when it is dropped.
pub struct TestGateway {
    pub address: SocketAddr,
    /// All listeners, in the order of the setting.
    pub addresses: Vec<SocketAddr>,
    pub status: SocketAddr,
    gateway: Option<Gateway>,
}

/// What a test gateway is made of.
#[derive(Default)]
pub struct Builder {
    settings: Flags,
    env: Vec<(String, String)>,
    names: Option<HashMap<String, SocketAddr>>,
}

impl Builder {
    /// Sets a Kong property, such as `log_level`.
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Sets an environment variable for the gateway alone.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Lets a public name lead to a loopback address: `name:port`.
    pub fn name(mut self, name_and_port: &str, address: SocketAddr) -> Self {
        self.names.get_or_insert_default().insert(name_and_port.to_owned(), address);
        self
    }

    /// Starts the gateway, or says why not.
    pub fn try_start(self, config: &str) -> Result<TestGateway, Vec<String>> {
        let source = Source { name: "kong.yaml".to_owned(), text: config.to_owned() };
        self.try_start_with(Input::Text(source))
    }

    /// Starts the gateway with a file that may change.
    pub fn start_with_file(self, path: &std::path::Path) -> TestGateway {
        let started = self.try_start_with(Input::Path(path.to_owned()));
        started.unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
    }

    fn try_start_with(self, input: Input) -> Result<TestGateway, Vec<String>> {
        let mut flags = self.settings;
        for (name, value) in [
            ("proxy_listen", "127.0.0.1:0"),
            ("status_listen", "127.0.0.1:0"),
            ("nginx_worker_processes", "1"),
            ("proxy_access_log", "off"),
        ] {
            flags.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
        let env: Env = self.env.into_iter().collect();
        let settings = Settings::read(&flags, env, None)?.settings;
        let inputs = vec![input];
        let gateway = Gateway::start(Start { settings, inputs, names: self.names })?;
        Ok(TestGateway {
            address: gateway.addresses[0],
            addresses: gateway.addresses.clone(),
            status: gateway.status_addresses[0],
            gateway: Some(gateway),
        })
    }

    /// Starts the gateway.
    pub fn start(self, config: &str) -> TestGateway {
        self.try_start(config).unwrap_or_else(|errors| panic!("{}", errors.join("\n")))
    }
}

impl TestGateway {
    /// A gateway with nothing special about it.
    pub fn start(config: &str) -> Self {
        Builder::default().start(config)
    }

    /// Loads the configuration again.
    pub async fn reload(&self) -> Result<(), Vec<String>> {
        self.gateway.as_ref().unwrap().reload().await
    }

    /// Waits until a worker has ended the exchanges whose answers are here: a client has its answer
    /// before the log phase has run.
    pub async fn settled(&self) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.shutdown().await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    }

    /// Asks the status listener about what has been answered so far.
    pub async fn status(&self, path: &str) -> Message {
        // A worker that never comes to an end is what this page tells about.
        if path != "/status/ready" {
            self.settled().await;
        }
        http::send(self.status, "GET", path, &[], b"").await
    }

    /// Sends a GET.
    pub async fn get(&self, path: &str) -> Message {
        self.send("GET", path, &[], b"").await
    }

    /// Sends JSON.
    pub async fn post(&self, path: &str, body: &str) -> Message {
        self.send("POST", path, &[("Content-Type", "application/json")], body.as_bytes()).await
    }

    /// Sends anything.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Message {
        http::send(self.address, method, path, headers, body).await
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(gateway) = self.gateway.take() {
            gateway.drain();
        }
    }
}
