//! The stories beside this file, a test each.

macro_rules! stories {
    ($($name:ident)+) => {
        $(#[test]
        fn $name() {
            crate::story::run(include_str!(concat!("stories/", stringify!($name), ".txt")));
        })+
    };
}

stories! {
    console
    errors
    faulted
    hooks
    inventory
    life
    listing
    load
    outcomes
    replacing
    target
    toolstacks
    waiting
}
