//! How most types are serialised, with feature `serde`: as their text, or field by field.

/// The text of `Display`.
macro_rules! as_text {
    ($($name:ty),+) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    )+};
}

/// These fields, under their own names and in this order.
macro_rules! by_field {
    ($($name:ident { $($field:ident),+ $(,)? })+) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct;
                let mut fields = serializer.serialize_struct(stringify!($name), [$(stringify!($field)),+].len())?;
                $(fields.serialize_field(stringify!($field), &self.$field)?;)+
                fields.end()
            }
        }
    )+};
}

pub(crate) use {as_text, by_field};
