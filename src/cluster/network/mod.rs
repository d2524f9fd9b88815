//! The network between GPUs: which links a path takes, how flows share them, and how long KV takes over them. Knows nothing of engines
//! or requests.

pub mod flows;
pub mod kv_transfer;
pub mod topology;
pub mod transfers;

pub use flows::{Flows, LinkId};
pub use kv_transfer::{Connector, KvShape, Piece, pieces};
pub use topology::{Fabric, FabricSpec, Path, Placement};
pub use transfers::{KvRoute, Transfers};
