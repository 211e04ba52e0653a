//! Workload identity: the federated token of a Kubernetes service account, which the kubelet leaves
//! in a file, stands in for a secret.
//!
//! The kubelet rewrites the file long before the token ends, so it is read at every exchange: a
//! kept copy is the usual cause of AADSTS700024. A missing file is no reason not to start.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{About, App, Calling, ProofFile, Source, entra};
use crate::azure::clients::Clients;
use crate::azure::diagnosis::Silence;
use crate::azure::failure::{Cause, Class};
use crate::azure::files;
use crate::azure::identity::{Fact, Given};
use crate::entity::Secret;

/// An app registration or user-assigned identity that trusts a Kubernetes service account.
#[derive(Debug)]
pub(in crate::azure) struct WorkloadIdentity {
    pub(in crate::azure) app: App,
    pub(in crate::azure) token_file: Given<PathBuf>,
}

impl Source for WorkloadIdentity {
    fn about(&self) -> About<'_> {
        let file = &self.token_file;
        let proof = vec![Fact::new("token file", file.value.display(), file.from)];
        let watched = Some(ProofFile::Renewed(&file.value));
        About { proof, file: watched, ..About::app("workload identity", &self.app) }
    }

    fn call<'a>(&'a self, clients: &'a Clients, scope: &'a str) -> Calling<'a> {
        Box::pin(async move {
            let assertion = read_token(&self.token_file.value).await?;
            self.app.post_assertion(self, clients, scope, assertion.expose()).await
        })
    }

    fn pause(&self, cause: &Cause, attempts: u32) -> Option<Duration> {
        entra::pause(cause, attempts)
    }

    fn explain_silence(&self, silence: Silence) -> Option<Cause> {
        self.app.explain_silence(silence)
    }
}

/// A service account token has 1-2 KiB.
const TOKEN_MAX: u64 = 64 * 1024;

/// The file's content without white space around it.
async fn read_token(path: &Path) -> Result<Secret, Cause> {
    let text = files::read_text(path, TOKEN_MAX).await.map_err(|error| unreadable(path, &error))?;
    match text.trim() {
        "" => Err(useless(path, "is empty")),
        token if token.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err(useless(path, "holds more than one token"))
        }
        token => Ok(Secret::new(token)),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Cause {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => {
            "label the pod azure.workload.identity/use: \"true\" and restart it, or correct \
             auth.azure_federated_token_file (AZURE_FEDERATED_TOKEN_FILE)"
        }
        io::ErrorKind::PermissionDenied => "set fsGroup in the pod's security context",
        _ => "see auth.azure_federated_token_file (AZURE_FEDERATED_TOKEN_FILE)",
    };
    let meaning = format!("the token file {} cannot be read", path.display());
    Cause::new(Class::Config, meaning, remedy).saying(error.to_string())
}

fn useless(path: &Path, problem: &str) -> Cause {
    let remedy = "see auth.azure_federated_token_file (AZURE_FEDERATED_TOKEN_FILE)";
    Cause::new(Class::Config, format!("the token file {} {problem}", path.display()), remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_file(content: &str) -> Result<Secret, Cause> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        read_token(file.path()).await
    }

    #[tokio::test]
    async fn white_space_around_the_token_is_not_sent() {
        assert_eq!(read_file(" \tA.B.C\r\n\n").await.unwrap().expose(), "A.B.C");
    }

    #[tokio::test]
    async fn a_useless_file_is_named() {
        for (content, problem) in [("\n", "is empty"), ("A.B.C\nD.E.F\n", "more than one token")] {
            let cause = read_file(content).await.unwrap_err();
            assert_eq!(cause.class, Class::Config);
            assert!(cause.meaning.contains(problem), "{cause}");
            assert!(cause.remedy.contains("AZURE_FEDERATED_TOKEN_FILE"), "{cause}");
        }
    }

    #[tokio::test]
    async fn a_missing_file_gives_path_and_error() {
        let cause = read_token(Path::new("/nowhere/token")).await.unwrap_err().to_string();
        assert!(cause.contains("/nowhere/token") && cause.contains("os error 2"), "{cause}");
        let cause = read_token(Path::new("/dev")).await.unwrap_err().to_string();
        assert!(cause.contains("not a regular file"), "{cause}");
    }
}
