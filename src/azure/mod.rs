//! Azure identity: which identity a target uses and why, and a token for it.
//!
//! [`resolve`] decides once, when a configuration loads, and touches no socket; [`Tokens`] holds
//! one token per identity for all workers and renews it on the control thread. A new kind of
//! identity is one file like [`imds`], a [`Source`] and a line in `resolve` and `exchange`.
//! Client certificates, Arc, Azure ML, Service Fabric and Cloud Shell are not here yet; where
//! their environment is found, `resolve` says so instead of calling Azure as somebody else.

mod app_service;
mod auth;
mod clients;
mod diagnosis;
mod endpoint;
mod entra;
mod exchange;
mod expiry;
mod failure;
mod files;
mod handle;
mod identity;
mod imds;
#[cfg(test)]
mod mock;
mod resolve;
mod scope;
mod slot;
mod state;
#[cfg(test)]
mod tests;
mod token;
mod tokens;
mod verdict;
mod workload;

#[cfg(test)]
pub(crate) use exchange::Grant;

pub use auth::{Auth, Incomplete};
pub use clients::{Clients, NoClients};
pub use diagnosis::clean;
pub use failure::{Cause, Class, Failure};
pub use handle::TokenHandle;
pub use identity::{Fact, Identity, Key, Origin};
pub use resolve::resolve;
pub use scope::is_azures_own;
pub use state::Status;
pub use token::Token;
pub use tokens::{Mark, Tokens};
pub use verdict::{SignedIn, Verdict, lacks_role, words};
