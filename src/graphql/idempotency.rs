//! `idempotencyKey`, from the argument or from the `Idempotency-Key` header.

use async_graphql::{Context, Value};

use super::context::RequestContext as _;
use crate::db::idempotency_key::Once;
use crate::error::{Code, Error, Rejection, Result};
use crate::vault::Purpose;

/// The longest key.
const MAX_KEY: usize = 255;
/// The argument, which is not part of what a repeat must repeat.
const ARGUMENT: &str = "idempotencyKey";

/// The `Idempotency-Key` header of a request.
#[derive(Clone, Debug)]
pub struct IdempotencyHeader(pub String);

/// What makes the mutation at hand the same as an earlier one, if the caller asks for that.
///
/// # Errors
/// [`Error::Rejected`] for a key that is too long or no text, or when argument and header differ.
pub fn once(ctx: &Context<'_>, argument: Option<String>) -> Result<Option<Once>> {
    let refuse = |message: String| Err(Rejection::new(Code::Invalid, &[ARGUMENT], message).into());
    let header = ctx.data_opt::<IdempotencyHeader>().map(|header| header.0.clone());
    if header.is_some() && argument.is_some() && header != argument {
        return refuse("The argument and the Idempotency-Key header differ.".to_owned());
    }
    let Some(key) = argument.or(header) else { return Ok(None) };
    if key.is_empty() || key.chars().count() > MAX_KEY || key.contains(char::is_control) {
        return refuse(format!("An idempotency key has 1 to {MAX_KEY} characters."));
    }
    let field = ctx.field();
    // Secrets are among the arguments: what is kept of them is a hash under a key that is not in the database.
    let mut parts = zeroize::Zeroizing::new(field.name().as_bytes().to_vec());
    let mut arguments =
        field.arguments().map_err(|_| Error::internal(anyhow::anyhow!("arguments that were read cannot be read")))?;
    arguments.retain(|(name, _)| name != ARGUMENT);
    arguments.sort_by(|(one, _), (other, _)| one.cmp(other));
    for (name, value) in &arguments {
        parts.push(b';');
        parts.extend_from_slice(name.as_bytes());
        parts.push(b':');
        write(value, &mut parts);
    }
    let arguments = ctx.app().vault.mac(Purpose::Idempotency, &[&parts]);
    Ok(Some(Once { mutation: field.name().to_owned(), key, arguments, now: ctx.app().clock.now() }))
}

/// The value as JSON, its members in the order of their names.
fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::List(items) => {
            out.push(b'[');
            for item in items {
                write(item, out);
                out.push(b',');
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, member) in members {
                // Quoted: a name may hold what stands between names.
                out.extend_from_slice(Value::String(name.to_string()).to_string().as_bytes());
                out.push(b':');
                write(member, out);
                out.push(b',');
            }
            out.push(b'}');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}
