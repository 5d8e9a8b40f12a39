//! Compression of bytes, streams and files, bounded in size, ratio and memory.
//!
//! It is linked into every run: data need no grant, and files go through the check of `fs`. `tar` builds
//! on the same [`codec`].

pub mod codec;
mod coder;
pub mod file;
mod share;
#[cfg(test)]
mod tests;
mod xz;

pub use share::Share;

use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Capability, Ctx, Determinism, HostResult, Linker, Literal, Need, Run, error};
use assay_capability_fs::blocking;
use assay_capability_fs::needs;
use bindings::assay::host::compress::{self, Piece};
use codec::{Bounds, Format};
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/compress@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/compress@0.1.0.coder": crate::Stream,
        },
    });
}

/// The capability `compress`.
pub struct Compress;

impl Capability for Compress {
    fn name(&self) -> &'static str {
        "compress"
    }

    fn summary(&self) -> &'static str {
        "gzip, xz, zstd and bzip2"
    }

    fn always_linked(&self) -> bool {
        true
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            needs::read("compress.pack_file"),
            needs::write("compress.pack_file").at(1),
            needs::read("compress.unpack_file"),
            needs::write("compress.unpack_file").at(1),
            needs::read("compress.untar"),
            needs::write("compress.untar").at(1),
            Need::new("compress.*", Literal::Free),
        ];
        NEEDS
    }

    fn determinism(&self, function: &str) -> Determinism {
        match function {
            "packer" | "unpacker" | "[method]coder.step" => Determinism::Pure,
            _ => Determinism::Outside,
        }
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        compress::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

/// A coder that a script holds; none while a step works on it, and after one that failed or was given up.
pub struct Stream(Option<Box<coder::Coder>>);

type Host = HasSelf<Ctx>;
type Outcome<T> = std::result::Result<T, Error>;

fn run(accessor: &Accessor<Ctx, Host>) -> Arc<Run> {
    accessor.with(|mut access| access.get().run.clone())
}

/// What the files of a call hold: the buffers that they are read and written through.
const FILES: usize = 2 * file::PIECE;

fn bounds(bounds: compress::Bounds) -> Bounds {
    Bounds { size: bounds.max_size, ratio: bounds.max_ratio }
}

async fn packer(run: &Arc<Run>, format: &str, level: Option<i32>) -> Outcome<coder::Coder> {
    let format = Format::parse(format)?;
    let level = format.level(level)?;
    let share = Share::take(run, format.packing_memory(level, run.budget.limit()), coder::HELD).await?;
    coder::Coder::packer(format, level, share)
}

async fn unpacker(run: &Arc<Run>, format: &str, bounds: Bounds) -> Outcome<coder::Coder> {
    let format = Format::parse(format)?;
    let share = Share::take(run, format.unpacking_memory(), coder::HELD).await?;
    coder::Coder::unpacker(format, bounds, share)
}

fn pushed(accessor: &Accessor<Ctx, Host>, coder: coder::Coder) -> HostResult<Resource<Stream>> {
    let stream = Stream(Some(Box::new(coder)));
    Ok(accessor.with(|mut access| access.get().table.push(stream))?)
}

fn pack_format(destination: &str, format: Option<&str>, level: Option<i32>) -> Outcome<(Format, i32)> {
    let format = match format {
        Some(name) => Format::parse(name)?,
        None => Format::of_path(destination).ok_or_else(|| {
            error(
                ErrorCode::InvalidArgument,
                format!("{destination} does not end in .gz, .xz, .zst or .bz2; give a format"),
            )
        })?,
    };
    Ok((format, format.level(level)?))
}

impl compress::Host for Ctx {}

impl compress::HostWithStore<Ctx> for Host {
    async fn packer(
        accessor: &Accessor<Ctx, Self>,
        format: String,
        level: Option<i32>,
    ) -> HostResult<Resource<Stream>> {
        let run = run(accessor);
        pushed(accessor, packer(&run, &format, level).await?)
    }

    async fn unpacker(
        accessor: &Accessor<Ctx, Self>,
        format: String,
        most: compress::Bounds,
    ) -> HostResult<Resource<Stream>> {
        let run = run(accessor);
        pushed(accessor, unpacker(&run, &format, bounds(most)).await?)
    }

    async fn pack_file(
        accessor: &Accessor<Ctx, Self>,
        source: String,
        destination: String,
        format: Option<String>,
        level: Option<i32>,
    ) -> HostResult<u64> {
        let run = run(accessor);
        let held = run.hold(&[&source, &destination]).await?;
        let (format, level) = pack_format(&destination, format.as_deref(), level)?;
        let memory = format.packing_memory(level, run.budget.limit());
        let share = Share::take(&run, memory, FILES).await?;
        blocking(held, move |cancel| file::pack(&run, &source, &destination, (format, level), share, cancel))
            .await
    }

    async fn unpack_file(
        accessor: &Accessor<Ctx, Self>,
        source: String,
        destination: String,
        format: Option<String>,
        most: compress::Bounds,
    ) -> HostResult<u64> {
        let run = run(accessor);
        let held = run.hold(&[&source, &destination]).await?;
        let bounds = bounds(most);
        let share = Share::take(&run, 0, FILES).await?;
        let opening = {
            let (run, source) = (run.clone(), source.clone());
            move |_: &_| {
                let given = format.as_deref().map(Format::parse).transpose()?;
                let opened = file::Source::open(&run, &source)?;
                let format = file::format_of(&source, given, &opened)?;
                Ok((opened, format))
            }
        };
        let (opened, format) = blocking(run.budget.nothing(), opening).await?;
        blocking(held, move |cancel| {
            file::unpack(&run, (&source, opened), &destination, (format, bounds), share, cancel)
        })
        .await
    }
}

impl compress::HostCoder for Ctx {
    fn drop(&mut self, this: Resource<Stream>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl compress::HostCoderWithStore<Ctx> for Host {
    async fn step(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Stream>,
        input: Vec<u8>,
        last: bool,
    ) -> HostResult<Piece> {
        let (run, taken) = accessor.with(|mut access| {
            let ctx = access.get();
            let taken = ctx.table.get_mut(&this)?.0.take();
            wasmtime::error::Ok((ctx.run.clone(), taken))
        })?;
        let Some(mut coder) = taken else {
            return Err(error(
                ErrorCode::InvalidArgument,
                "the stream has failed, or another task is using it",
            )
            .into());
        };
        let (coder, output) = blocking(run.budget.nothing(), move |_| {
            let output = coder.step(&run, input, last)?;
            Ok((coder, output))
        })
        .await?;
        accessor.with(|mut access| {
            access.get().table.get_mut(&this)?.0 = Some(coder);
            wasmtime::error::Ok(())
        })?;
        Ok(Piece { data: output.data, more: output.more })
    }
}
