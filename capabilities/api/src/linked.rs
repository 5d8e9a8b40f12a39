//! How functions of the host are linked: wasmtime, with a [`component::Linker`] that every function goes through. What is
//! generated for a capability links with it (`wasmtime_crate` of `bindgen!`), so that in a replayed run no function
//! that reaches outside is called, whatever the capability does.

pub use wasmtime::*;

/// As in wasmtime, but for what links.
pub mod component {
    use crate::types::Error;
    use crate::{Ctx, Determinism};
    use std::pin::Pin;
    use std::sync::Arc;
    pub use wasmtime::component::*;
    use wasmtime::{Engine, Result, StoreContextMut, format_err};

    /// What says what functions do, by their names.
    type Determines = Arc<dyn Fn(&str) -> Determinism + Send + Sync>;
    /// The functions that were linked: interface, function, and what it does.
    pub type Seen = Vec<(String, String, Determinism)>;

    /// Links functions of the host.
    pub struct Linker<T: 'static> {
        inner: wasmtime::component::Linker<T>,
        ctx: fn(&T) -> &Ctx,
        determines: Determines,
        seen: Option<Seen>,
    }

    impl<T> Clone for Linker<T> {
        fn clone(&self) -> Self {
            let (inner, determines, seen) = (self.inner.clone(), self.determines.clone(), self.seen.clone());
            Linker { inner, ctx: self.ctx, determines, seen }
        }
    }

    impl Linker<Ctx> {
        /// One without functions.
        pub fn new(engine: &Engine) -> Linker<Ctx> {
            let inner = wasmtime::component::Linker::new(engine);
            Linker { inner, ctx: |ctx| ctx, determines: Arc::new(|_| Determinism::Outside), seen: None }
        }

        /// The same, which notes the functions that are linked from here on.
        pub fn noting(self) -> Linker<Ctx> {
            Linker { seen: Some(Seen::new()), ..self }
        }

        /// The functions that were noted.
        pub fn seen(&self) -> &[(String, String, Determinism)] {
            self.seen.as_deref().unwrap_or_default()
        }

        /// For functions of which `determines` says what they do.
        pub fn determined_by(
            &mut self,
            determines: impl Fn(&str) -> Determinism + Send + Sync + 'static,
        ) -> &mut Linker<Ctx> {
            self.determines = Arc::new(determines);
            self
        }

        /// Wasmtime's own, for what is no function of a capability.
        pub fn plain(&mut self) -> &mut wasmtime::component::Linker<Ctx> {
            &mut self.inner
        }
    }

    impl<T: 'static> Linker<T> {
        /// The functions of an interface.
        ///
        /// # Errors
        /// Those of wasmtime.
        pub fn instance(&mut self, name: &str) -> Result<LinkerInstance<'_, T>> {
            Ok(LinkerInstance {
                inner: self.inner.instance(name)?,
                interface: name.to_string(),
                ctx: self.ctx,
                determines: &*self.determines,
                seen: self.seen.as_mut(),
            })
        }

        /// A component with what was linked.
        ///
        /// # Errors
        /// Those of wasmtime.
        pub fn instantiate_pre(&self, component: &Component) -> Result<InstancePre<T>> {
            self.inner.instantiate_pre(component)
        }
    }

    /// The functions of one interface.
    pub struct LinkerInstance<'a, T: 'static> {
        inner: wasmtime::component::LinkerInstance<'a, T>,
        interface: String,
        ctx: fn(&T) -> &Ctx,
        determines: &'a dyn Fn(&str) -> Determinism,
        seen: Option<&'a mut Seen>,
    }

    /// What a function gives that is called where it must not be.
    pub trait Refused: Sized {
        /// Whether it has an error to say so.
        const CAN: bool;

        /// Refuses.
        ///
        /// # Errors
        /// Where it has no error; it is not linked then.
        fn refused(error: Error) -> Result<Self>;
    }

    impl<T> Refused for (std::result::Result<T, Error>,) {
        const CAN: bool = true;

        fn refused(error: Error) -> Result<Self> {
            Ok((Err(error),))
        }
    }

    macro_rules! never_refused {
        ($(($($generic:ident)?) $result:ty),* $(,)?) => {
            $(impl$(<$generic>)? Refused for $result {
                const CAN: bool = false;

                fn refused(error: Error) -> Result<Self> {
                    Err(format_err!("{}", error.message))
                }
            })*
        };
    }

    never_refused! {
        () (), () (bool,), () (u16,), () (u32,), () (u64,), () (f64,), () (String,),
        () ((u64, u64),), () ((i32, bool, String),),
        (T) (Option<T>,), (T) (Vec<T>,), (T) (std::result::Result<T, String>,),
    }

    /// A function that reaches outside.
    struct Outside<T> {
        ctx: fn(&T) -> &Ctx,
        /// As messages name it: `fs.file.read`.
        name: String,
    }

    /// The error of a function where it must not be called. One closure for both kinds of functions: each is compiled for
    /// every function of the host.
    fn refused<T>(outside: &Option<Outside<T>>, data: &T) -> Option<Error> {
        let Outside { ctx, name } = outside.as_ref()?;
        ctx(data).refused(name)
    }

    impl<T: 'static> LinkerInstance<'_, T> {
        /// What a function has to ask first; none where it reaches nothing.
        fn asks<Return: Refused>(&mut self, function: &str) -> Result<Option<Outside<T>>> {
            let determinism = (self.determines)(function);
            if let Some(seen) = &mut self.seen {
                seen.push((self.interface.clone(), function.to_string(), determinism));
            }
            if determinism != Determinism::Outside {
                return Ok(None);
            }
            let name = name_of(&self.interface, function);
            match Return::CAN {
                true => Ok(Some(Outside { ctx: self.ctx, name })),
                false => Err(format_err!("{name} reaches outside, and has no error for where it must not")),
            }
        }

        /// A function that is ready at once.
        ///
        /// # Errors
        /// Those of wasmtime, and where it reaches outside and has no error.
        pub fn func_wrap<F, Params, Return>(&mut self, name: &str, function: F) -> Result<()>
        where
            F: Fn(StoreContextMut<'_, T>, Params) -> Result<Return> + Send + Sync + 'static,
            Params: ComponentNamedList + Lift + 'static,
            Return: ComponentNamedList + Lower + Refused + 'static,
        {
            let outside = self.asks::<Return>(name)?;
            self.inner.func_wrap(name, move |store: StoreContextMut<'_, T>, params| {
                match refused(&outside, store.data()) {
                    Some(error) => Return::refused(error),
                    None => function(store, params),
                }
            })
        }

        /// A function that waits with the store.
        ///
        /// # Errors
        /// As for [`LinkerInstance::func_wrap`].
        pub fn func_wrap_async<Params, Return, F>(&mut self, name: &str, function: F) -> Result<()>
        where
            F: Fn(StoreContextMut<'_, T>, Params) -> Box<dyn Future<Output = Result<Return>> + Send + '_>
                + Send
                + Sync
                + 'static,
            Params: ComponentNamedList + Lift + 'static,
            Return: ComponentNamedList + Lower + Refused + 'static,
        {
            let outside = self.asks::<Return>(name)?;
            self.inner.func_wrap_async(name, move |store, params| match refused(&outside, store.data()) {
                Some(error) => Box::new(async move { Return::refused(error) }),
                None => function(store, params),
            })
        }

        /// A function that waits beside others.
        ///
        /// # Errors
        /// As for [`LinkerInstance::func_wrap`].
        pub fn func_wrap_concurrent<Params, Return, F>(&mut self, name: &str, function: F) -> Result<()>
        where
            F: Fn(&Accessor<T>, Params) -> Pin<Box<dyn Future<Output = Result<Return>> + Send + '_>>
                + Send
                + Sync
                + 'static,
            Params: ComponentNamedList + Lift + 'static,
            Return: ComponentNamedList + Lower + Refused + 'static,
        {
            let outside = self.asks::<Return>(name)?;
            self.inner.func_wrap_concurrent(name, move |accessor: &Accessor<T>, params| {
                match accessor.with(|mut access| refused(&outside, access.get())) {
                    Some(error) => Box::pin(async move { Return::refused(error) }),
                    None => function(accessor, params),
                }
            })
        }

        /// A resource. That one is dropped reaches nothing.
        ///
        /// # Errors
        /// Those of wasmtime.
        pub fn resource(
            &mut self,
            name: &str,
            kind: ResourceType,
            drop: impl Fn(StoreContextMut<'_, T>, u32) -> Result<()> + Send + Sync + 'static,
        ) -> Result<()> {
            self.inner.resource(name, kind, drop)
        }
    }

    /// What messages call a function of an interface: `assay:host/fs@0.1.0` and `[method]file.read` are `fs.file.read`.
    pub fn name_of(interface: &str, function: &str) -> String {
        let interface = interface.rsplit('/').next().unwrap_or(interface);
        let interface = interface.split('@').next().unwrap_or(interface);
        let function = function.rsplit(']').next().unwrap_or(function);
        format!("{interface}.{}", function.replace('-', "_"))
    }
}
