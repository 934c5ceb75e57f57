//! Values that are serialised as fields of their own.

/// Implements `Serialize` for a type, with a field for each of these expressions.
macro_rules! serialize_fields {
    ($(#[$doc:meta])* $type:ident as |$value:ident| { $($field:ident: $content:expr,)+ }) => {
        $(#[$doc])*
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> core::result::Result<S::Ok, S::Error> {
                use serde::ser::SerializeStruct as _;
                let $value = self;
                let mut fields = serializer.serialize_struct(stringify!($type), [$(stringify!($field)),+].len())?;
                $(fields.serialize_field(stringify!($field), &$content)?;)+
                fields.end()
            }
        }
    };
}

pub(crate) use serialize_fields;
