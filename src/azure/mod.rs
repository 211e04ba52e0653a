//! Azure identity: which identity a target uses and why, and a token for it.
//!
//! [`resolve`] decides once, when a configuration loads, and touches no socket; [`Tokens`] holds
//! one token per identity for all workers and renews it on the control thread. A new way to a
//! token is one file in [`source`] and the line that chooses it, in `resolve` or `machine`.

mod auth;
mod clients;
mod diagnosis;
mod endpoint;
mod exchange;
mod expiry;
mod failure;
mod files;
mod handle;
mod identity;
mod incomplete;
mod machine;
#[cfg(test)]
mod mock;
mod pin;
mod resolve;
mod scope;
mod slot;
mod source;
mod state;
#[cfg(test)]
mod tests;
mod token;
mod tokens;
mod verdict;

#[cfg(test)]
pub(crate) use exchange::Grant;

pub use auth::Auth;
pub use clients::{Clients, NoClients};
pub use diagnosis::clean;
pub use failure::{Cause, Class, Failure};
pub use handle::TokenHandle;
pub use identity::{Fact, Identity, Key, Origin};
pub use incomplete::Incomplete;
pub use resolve::resolve;
pub use scope::is_azures_own;
pub use state::Status;
pub use token::Token;
pub use tokens::{Mark, Tokens};
pub use verdict::{SignedIn, Verdict, lacks_role, words};
