//! Guests whose `describe` misbehaves, one an example. Their `run` would be fine, if it were ever reached.

use vitalsign_plugin::{Description, Failure, Report, bindings::Guest};

/// A bad way to describe oneself.
pub trait Describe {
    /// What `describe` does.
    fn describe() -> Description;
}

/// The component of one of them.
pub struct Component<D>(std::marker::PhantomData<D>);

impl<D: Describe> Guest for Component<D> {
    fn describe() -> Description {
        D::describe()
    }

    fn run(_config: String) -> Result<Report, Failure> {
        Ok(Report::new("this was reached"))
    }
}

/// Makes the component's exports.
#[macro_export]
macro_rules! export {
    ($describe:ty) => {
        #[cfg(target_family = "wasm")]
        const _: () = {
            type Exports = $crate::Component<$describe>;
    vitalsign_plugin::bindings::export_component!(Exports with_types_in vitalsign_plugin::bindings);
        };
        #[cfg(not(target_family = "wasm"))]
        const _: fn() -> vitalsign_plugin::Description = <$describe as $crate::Describe>::describe;
    };
}
