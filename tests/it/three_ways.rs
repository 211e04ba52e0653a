//! docs/comparison.md is true: what a client sees of Azure directly, through nginx' `proxy_pass`
//! and through the gateway differs in what the page says, and in nothing else.

mod act;
mod behaviours;
mod page;
mod seen;

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use silverback::sim::{Options, Sim};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use self::page::Row;
use super::azure_routes;
use super::azure_wire::{HOST, public_azure};
use super::gateway::TestGateway;
use super::redis_server::PAUSE;
use super::stream_ends::soon;

/// A connection of any kind.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// How a client gets to Azure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    Nginx,
    Gateway,
}

/// Azure, and what stands in front of it.
struct Scene {
    sim: Sim,
    tls: TlsConnector,
    gateway: TestGateway,
    nginx: Child,
    folder: tempfile::TempDir,
}

impl Scene {
    async fn start() -> Self {
        let (sim, builder, folder) = public_azure(Options::default());
        let gateway = builder.start(&azure_routes::config());
        let trusted = CertificateDer::from_pem_file(folder.path().join("ca.pem")).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let nginx = nginx(folder.path(), &sim);
        let scene = Self { sim, tls: Arc::new(tls).into(), gateway, nginx, folder };
        let ready = async {
            while UnixStream::connect(scene.socket()).await.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        };
        soon("nginx listens", ready).await;
        scene
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("nginx.sock")
    }

    async fn connect(&self, way: Way) -> Box<dyn Stream> {
        match way {
            Way::Direct => {
                let stream = TcpStream::connect(self.sim.addr()).await.unwrap();
                let name = ServerName::try_from(HOST).unwrap();
                Box::new(self.tls.connect(name, stream).await.unwrap())
            }
            Way::Nginx => Box::new(UnixStream::connect(self.socket()).await.unwrap()),
            Way::Gateway => Box::new(TcpStream::connect(self.gateway.address).await.unwrap()),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.nginx.kill();
        let _ = self.nginx.wait();
    }
}

/// nginx as its users set it up for streams and WebSocket.
fn nginx(folder: &std::path::Path, sim: &Sim) -> Child {
    let at = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let temporary = temporary.map(|name| format!("{name}_temp_path {at}/{name};")).concat();
    let config = format!(
        "daemon off;
master_process off;
pid {at}/nginx.pid;
error_log stderr crit;
events {{}}
http {{
  access_log off;
  {temporary}
  client_max_body_size 64m;
  map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
  server {{
    listen unix:{at}/nginx.sock;
    location / {{
      proxy_pass https://{};
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_ssl_server_name on;
      proxy_ssl_name {HOST};
      proxy_buffering off;
    }}
  }}
}}
",
        sim.addr()
    );
    std::fs::write(folder.join("nginx.conf"), config).unwrap();
    Command::new("nginx")
        .args(["-e", "stderr", "-p"])
        .arg(folder)
        .arg("-c")
        .arg(folder.join("nginx.conf"))
        .stdout(Stdio::null())
        .spawn()
        .expect("nginx is missing: apt-get install nginx-light")
}

#[tokio::test]
async fn the_gateway_differs_from_azure_itself_in_what_the_page_says() {
    let scene = Scene::start().await;
    let mut rows = Vec::new();
    for behaviour in behaviours::all() {
        for rule in &behaviour.rules {
            scene.sim.fault(rule.clone()).unwrap();
        }
        let mut seen = Vec::new();
        for way in [Way::Direct, Way::Nginx, Way::Gateway] {
            let what = format!("{} ({way:?})", behaviour.name);
            seen.push(soon(&what, act::act(&scene, way, &behaviour)).await);
        }
        let [nginx, gateway] = [&seen[1], &seen[2]].map(|other| seen[0].differences(other));
        let directly = seen[0].in_short();
        rows.push(Row { name: behaviour.name.to_owned(), directly, nginx, gateway });
    }
    let names: BTreeSet<_> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "two behaviours of one name");
    assert!(rows.len() >= 40, "{} behaviours only", rows.len());
    let wrong = page::Page::read().compare(rows);
    assert!(wrong.is_empty(), "docs/comparison.md says otherwise:\n{}", wrong.join("\n"));
}
