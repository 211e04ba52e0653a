//! The places, and the simulator in the place of their platforms.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use silverback::sim::{Kind, Options, Pinned, Sim};

use super::page::Page;

/// A section with a configuration.
#[derive(Clone, Copy)]
pub struct Place {
    pub heading: &'static str,
    /// The endpoint that has to be asked for a token.
    pub kind: Kind,
    /// As whom Azure is called.
    pub identity: &'static str,
    pub host: &'static str,
    /// What the token is for, as far as clouds differ.
    pub resource: &'static str,
}

const fn place(heading: &'static str, kind: Kind, identity: &'static str) -> Place {
    let host = "my-instance.openai.azure.com";
    Place { heading, kind, identity, host, resource: "cognitiveservices.azure.com" }
}

pub const PLACES: [Place; 13] = [
    place("Virtual machine", Kind::Imds, "managed identity (system-assigned)"),
    place(
        "Scale set",
        Kind::Imds,
        "managed identity (client id 66666666-7777-8888-9999-000000000000)",
    ),
    place(
        "AKS",
        Kind::Entra,
        "workload identity (client id 66666666-7777-8888-9999-000000000000, \
         tenant 11111111-2222-3333-4444-555555555555)",
    ),
    place("App Service", Kind::AppService, "app service managed identity (system-assigned)"),
    place("Functions", Kind::AppService, "app service managed identity (system-assigned)"),
    place(
        "Container Apps",
        Kind::AppService,
        "app service managed identity (client id 66666666-7777-8888-9999-000000000000)",
    ),
    place("Azure Arc", Kind::Arc, "azure arc managed identity (system-assigned)"),
    place(
        "Client secret",
        Kind::Entra,
        "client secret (client id 66666666-7777-8888-9999-000000000000, \
         tenant 11111111-2222-3333-4444-555555555555)",
    ),
    place(
        "Client certificate",
        Kind::Entra,
        "client certificate (client id 66666666-7777-8888-9999-000000000000, \
         tenant 11111111-2222-3333-4444-555555555555)",
    ),
    place(
        "Azure ML",
        Kind::AzureMl,
        "azure ml managed identity (client id 66666666-7777-8888-9999-000000000000)",
    ),
    place(
        "Service Fabric",
        Kind::ServiceFabric,
        "service fabric managed identity (system-assigned)",
    ),
    place("Cloud Shell", Kind::CloudShell, "cloud shell (system-assigned)"),
    Place {
        host: "my-instance.openai.azure.us",
        resource: "cognitiveservices.azure.us",
        ..place("Sovereign clouds", Kind::Imds, "managed identity (system-assigned)")
    },
];

/// The key file that only the fixed folder of Arc's agent may hold.
pub fn needs_a_real_agent(place: Place) -> bool {
    place.kind == Kind::Arc
}

/// The file that the page puts the certificate into, and one that is there.
pub const CERTIFICATE: &str = "/etc/silverback/client.pem";

pub fn certificate(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/spec/certificates");
    format!("{folder}/{name}")
}

/// A platform that is played by the simulator.
pub struct Platform {
    pub sim: Sim,
    pub folder: tempfile::TempDir,
    place: Place,
}

impl Platform {
    pub fn new(page: &Page, place: Place, options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), "HEADER.FEDERATED.SIGNATURE\n").unwrap();
        let made = certified();
        let key = PrivatePkcs8KeyDer::from_pem_slice(made.key.as_bytes()).unwrap();
        let pinned = Pinned::new(made.der, key.into()).unwrap();
        let variables = &page.section(place.heading).variables;
        let secret = variables.iter().find(|(name, _)| is_platforms_secret(name));
        let options = Options {
            identity_header: secret.map_or("none", |(_, value)| value).to_owned(),
            arc_key_folder: Some(folder.path().to_owned()),
            service_fabric: (place.kind == Kind::ServiceFabric).then_some(pinned),
            ..options
        };
        Self { sim: Sim::start(options).unwrap(), folder, place }
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The variables of the page with the simulator's addresses, and the variable that moves the
    /// endpoint where the platform sets none.
    pub fn env(&self, page: &Page) -> Vec<(String, String)> {
        let variables = &page.section(self.place.heading).variables;
        let set =
            variables.iter().map(|(name, value)| ((*name).to_owned(), self.here(name, value)));
        let mut env: Vec<_> = set.collect();
        let moves = match self.place.kind {
            Kind::Imds => "AZURE_POD_IDENTITY_AUTHORITY_HOST",
            Kind::Entra => "AZURE_AUTHORITY_HOST",
            _ => return env,
        };
        if env.iter().all(|(name, _)| name != moves) {
            env.push((moves.to_owned(), self.sim.url()));
        }
        env
    }

    /// A variable's value here.
    fn here(&self, name: &str, value: &str) -> String {
        let at = |path: &str| format!("{}{path}", self.sim.url());
        let fabric = self.sim.service_fabric();
        match (name, self.place.kind) {
            ("IDENTITY_ENDPOINT", Kind::ServiceFabric) => fabric.unwrap().endpoint.clone(),
            ("IDENTITY_SERVER_THUMBPRINT", _) => fabric.unwrap().thumbprint.clone(),
            ("IDENTITY_ENDPOINT", Kind::Arc) => at("/arc/metadata/identity/oauth2/token"),
            ("IDENTITY_ENDPOINT", _) => at("/msi/token"),
            ("MSI_ENDPOINT", Kind::AzureMl) => at("/azureml/msi/token"),
            ("MSI_ENDPOINT", _) => at("/cloudshell/oauth2/token"),
            ("AZURE_AUTHORITY_HOST", _) => at("/"),
            ("AZURE_FEDERATED_TOKEN_FILE", _) => self.file("token").to_str().unwrap().to_owned(),
            _ => value.to_owned(),
        }
    }
}

fn is_platforms_secret(name: &str) -> bool {
    matches!(name, "IDENTITY_HEADER" | "MSI_SECRET")
}

/// A certificate for the hosts of the page and for this machine.
pub struct Certified {
    pub der: rustls_pki_types::CertificateDer<'static>,
    pub pem: String,
    key: String,
}

pub fn certified() -> Certified {
    let names = ["127.0.0.1", "my-instance.openai.azure.com", "my-instance.openai.azure.us"];
    let made = rcgen::generate_simple_self_signed(names.map(str::to_owned)).unwrap();
    let der = made.cert.der().clone();
    Certified { der, pem: made.cert.pem(), key: made.signing_key.serialize_pem() }
}

impl Certified {
    pub fn tls(&self) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivatePkcs8KeyDer::from_pem_slice(self.key.as_bytes()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key.into());
        tls.unwrap().into()
    }
}

/// A configuration whose model is the simulator, as docs/simulator.md does it.
pub fn at_simulator(config: &str, sim: SocketAddr) -> String {
    let url = format!("upstream_url: http://{sim}/openai/deployments/gpt-4o/chat/completions");
    let lines = config.lines().filter(|line| !line.contains("upstream_url:"));
    let lines = lines.map(|line| match line.find("azure_api_version:") {
        Some(depth) => format!("{line}\n{:depth$}{url}\n", ""),
        None => format!("{line}\n"),
    });
    lines.collect()
}
