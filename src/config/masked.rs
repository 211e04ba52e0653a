//! What `config dump` writes where a secret is. A file with such places is for reading: loaded, its
//! asterisks would be everybody's key.

use super::draft::Draft;
use super::judge::Judged;
use super::problem::{At, Report};
use super::vault;
use crate::schema::Step;

/// What stands for a secret.
pub(super) const MASK: &str = "***";

/// Refuses secrets that are masked.
pub(super) fn refuse(drafts: &[Draft], judged: &mut [Judged], report: &mut Report) {
    for (draft, judged) in drafts.iter().zip(judged) {
        let [of_entity, of_config] = &judged.checks;
        let config = vec![Step::Field("config".to_owned())];
        let parts =
            [(of_entity, &mut judged.entity, Vec::new()), (of_config, &mut judged.config, config)];
        for (check, value, above) in parts {
            for pattern in check.iter().flat_map(|check| check.secrets()) {
                let pattern: Vec<&str> = pattern.split('.').collect();
                let mut path = above.clone();
                vault::walk(value, &pattern, &mut path, &mut |path, text| {
                    if text == MASK {
                        complain(draft, path, report);
                    }
                });
            }
        }
    }
}

fn complain(draft: &Draft, steps: &[Step], report: &mut Report) {
    let path = draft.path.join(steps);
    let pos = draft.node.locate(steps);
    let message = format!("'{MASK}' stands for a secret that `config dump` has masked");
    report.error(At { document: draft.document, path: &path, pos }, message).hint =
        Some("dump it with --with-secrets, or put the secret or a reference here".to_owned());
}
