//! config
/// Api
#[derive(Clone, Debug)]
pub struct Api { /// a
 pub introspection: bool, /// a
 pub graphiql: bool, /// b
 pub max_request_bytes: usize }
