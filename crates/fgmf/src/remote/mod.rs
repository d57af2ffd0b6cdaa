//! Models behind an address: a command on pipes, or a server. They answer with scores, and nothing
//! else is known of them. `docs/black-box.md` has the protocols.

pub(crate) mod address;
pub(crate) mod answers;
pub(crate) mod http;
pub(crate) mod limits;
pub(crate) mod pipe;
pub(crate) mod remote_model;
pub(crate) mod search;
pub(crate) mod transport;

pub use address::Address;
pub use limits::Limits;
pub use remote_model::RemoteModel;
pub use search::RemoteSearch;
pub use transport::ScoreKind;
