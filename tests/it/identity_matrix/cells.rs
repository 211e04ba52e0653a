//! The table: what each source does in each situation.

use super::Situation as S;
use super::sources::Source;

/// One cell.
pub enum Cell {
    /// The calls of a success, or a failure.
    Runs(Result<usize, Fails>),
    /// Why there is no such situation for this source.
    Senseless(&'static str),
    /// It takes long by the endpoint's own rules: see `src/azure/exchange/tests/matrix.rs`.
    UnderAPausedClock(&'static str),
}

/// What the operator's line says of a failure.
pub struct Fails {
    pub class: &'static str,
    pub status: Option<u64>,
    pub aadsts: Option<u64>,
    /// Calls of one exchange.
    pub attempts: usize,
    /// Meaning and remedy, in parts.
    pub says: &'static [&'static str],
    /// The calls reached the endpoint.
    pub is_reached: bool,
}

const FALSE_FRIEND: &[&str] =
    &["what answers is not a token endpoint", "a portal or proxy answers for the endpoint"];
const REDIRECT: &[&str] =
    &["a redirect was answered, and a secret follows none", "the address of the endpoint itself"];
const UNREACHABLE: &[&str] =
    &["the endpoint cannot be reached", "check DNS, firewall and HTTPS_PROXY"];
const NO_LIFETIME: &[&str] = &["the reply has no readable expires_on or expires_in"];
const NO_APPLICATION: &[&str] =
    &["this application does not have the identity system-assigned", "in its manifest"];
const NO_TOKEN: &[&str] =
    &["the platform gave no token", "the identity is not assigned to this app"];

pub fn cell(source: Source, situation: S) -> Cell {
    match situation {
        S::Ok | S::Slow | S::ExpiringSoon => works(1),
        S::IntegerExpiry | S::StringExpiry => works(1),
        S::IsoExpiry | S::UsExpiry | S::WindowsExpiry => works(1),
        S::FailsTwice => works(3),
        S::WrongSecret => wrong_secret(source),
        S::IdentityNotFound => identity_not_found(source),
        S::SeveralIdentities => several_identities(source),
        S::Down => {
            let class = if source == Source::Imds { "unavailable" } else { "transient" };
            silent(class, unanswered(source)).attempts(source.tries()).unreached()
        }
        S::Dropped => silent("transient", UNREACHABLE).attempts(source.tries()),
        S::Gone if source == Source::Imds => {
            Cell::UnderAPausedClock("an update of IMDS takes up to 70 s")
        }
        S::Gone if source.is_app() => {
            let cell = fails("transient", 410, &["Entra fails for a moment"]);
            cell.at_entra(source, 90_033).attempts(source.tries())
        }
        S::Gone => fails("config", 410, &["the endpoint refused"]),
        S::Throttled if source.is_app() => {
            fails("transient", 429, &["Entra throttles this client"]).at_entra(source, 90_055)
        }
        S::Throttled => fails("transient", 429, &["the endpoint throttles this client"]),
        S::Html => fails("unavailable", 200, FALSE_FRIEND),
        S::Portal => fails("protocol", 302, REDIRECT),
        S::NoExpiry => fails("protocol", 200, NO_LIFETIME),
        S::RotatedFile => match source {
            Source::WorkloadIdentity | Source::ClientCertificate => works(2),
            _ => Cell::Senseless("there is no file"),
        },
    }
}

fn unanswered(source: Source) -> &'static [&'static str] {
    match source {
        Source::Imds => &["the metadata service does not answer", "not an Azure VM"],
        Source::AzureMl | Source::CloudShell => {
            &["nothing answers at the address of MSI_ENDPOINT", "the platform sets it"]
        }
        Source::AppService | Source::ServiceFabric => {
            &["nothing answers at the address of IDENTITY_ENDPOINT", "the platform sets it"]
        }
        _ => UNREACHABLE,
    }
}

fn wrong_secret(source: Source) -> Cell {
    match source {
        Source::ClientSecret => {
            let says = &["the client secret is wrong", "the secret's value, not the secret's ID"];
            fails("config", 401, says).at_entra(source, 7_000_215)
        }
        Source::ClientCertificate => {
            let says = &["the certificate is not one of the application's", "upload its public"];
            fails("config", 401, says).at_entra(source, 700_027)
        }
        Source::WorkloadIdentity => {
            let says = &["no federated credential matches", "issuer (with its trailing slash)"];
            fails("config", 401, says).at_entra(source, 70_021)
        }
        Source::Imds => Cell::Senseless("IMDS asks for no secret"),
        Source::CloudShell => Cell::Senseless("Cloud Shell asks for no secret"),
        Source::AppService => {
            let says = &["the platform does not take IDENTITY_HEADER", "see who else sets it"];
            fails("config", 401, says)
        }
        Source::AzureMl => {
            let says = &["the platform does not take MSI_SECRET", "see who else sets it"];
            fails("config", 401, says)
        }
        // The secret is the identity.
        Source::ServiceFabric => fails("identity-not-assigned", 404, NO_APPLICATION),
    }
}

fn identity_not_found(source: Source) -> Cell {
    match source {
        Source::ClientSecret | Source::ClientCertificate | Source::WorkloadIdentity => {
            let says =
                &["the client id is not in this tenant", "check client id, tenant and cloud"];
            fails("config", 400, says).at_entra(source, 700_016)
        }
        Source::Imds => {
            let says = &["does not have the identity client id unknown-", "assign it to the VM"];
            fails("identity-not-assigned", 400, says)
        }
        Source::AppService => fails("transient", 500, NO_TOKEN).attempts(3),
        Source::AzureMl => fails("transient", 500, &["the endpoint failed"]).attempts(4),
        Source::CloudShell => Cell::Senseless("there is the user's own and no other"),
        Source::ServiceFabric => fails("identity-not-assigned", 404, NO_APPLICATION),
    }
}

fn several_identities(source: Source) -> Cell {
    match source {
        Source::Imds => {
            let says = &["several user-assigned identities", "auth.azure_client_id"];
            fails("ambiguous-identity", 400, says)
        }
        Source::AppService => fails("transient", 500, NO_TOKEN).attempts(3),
        Source::AzureMl => fails("transient", 500, &["the endpoint failed"]).attempts(4),
        Source::CloudShell => Cell::Senseless("there is the user's own and no other"),
        Source::ServiceFabric => Cell::Senseless("the secret says which one"),
        _ => Cell::Senseless("an application is named, one at a time"),
    }
}

fn works(calls: usize) -> Cell {
    Cell::Runs(Ok(calls))
}

/// A failure with a status, in one call.
fn fails(class: &'static str, status: u64, says: &'static [&'static str]) -> Cell {
    silent(class, says).changed(|fails| fails.status = Some(status))
}

/// A failure without an answer.
fn silent(class: &'static str, says: &'static [&'static str]) -> Cell {
    let fails = Fails { class, status: None, aadsts: None, attempts: 1, says, is_reached: true };
    Cell::Runs(Err(fails))
}

impl Cell {
    fn attempts(self, attempts: usize) -> Self {
        self.changed(|fails| fails.attempts = attempts)
    }

    /// Entra numbers its errors; other endpoints do not.
    fn at_entra(self, source: Source, code: u64) -> Self {
        self.changed(|fails| fails.aadsts = source.is_app().then_some(code))
    }

    fn unreached(self) -> Self {
        self.changed(|fails| fails.is_reached = false)
    }

    fn changed(mut self, change: impl FnOnce(&mut Fails)) -> Self {
        if let Self::Runs(Err(fails)) = &mut self {
            change(fails);
        }
        self
    }
}
