//! Ground floor: JSON objects put together key by key, as `serde_json::json!` does it, in a fraction of its code: the macro leaves a table
//! of keys and values to one function instead of an insertion each.

use serde::Serialize;
use serde_json::{Map, Value};

/// `object!({"key": value, …})`; a value is anything that serialises, taken by reference, or another `object!`.
macro_rules! object {
    ({ $($key:literal : $value:expr),* $(,)? }) => {
        $crate::object::of(&mut [$(($key, $crate::object::value(&$value))),*])
    };
}
pub(crate) use object;

/// The object with these entries, in this order.
#[inline(never)]
pub(crate) fn of(entries: &mut [(&str, Value)]) -> Value {
    entries.iter_mut().map(|(key, value)| ((*key).to_owned(), value.take())).collect::<Map<_, _>>().into()
}

/// Null where it cannot be written, which numbers, texts and lists of them always can.
#[inline(never)]
pub(crate) fn value<T: Serialize + ?Sized>(value: &T) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
