//! Tar archives: written, listed, and unpacked without leaving the directory that they are unpacked to.
//!
//! It is linked into every run: every file goes through the check of `fs`. The reader is Assay's own, because
//! sizes in archives must be bounded before they are used, and unpacking goes by open directories
//! and not by paths.

mod archive;
mod extract;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod header;
mod names;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use archive::{Archive, Bounds, Member};
use assay_capability_api::types::{Error, ErrorCode};
use assay_capability_api::{Access, Capability, Ctx, Held, HostResult, Linker, Literal, Need, Run, error};
use assay_capability_compress::Share;
use assay_capability_compress::codec::Format;
use assay_capability_compress::file::{self, Source};
use assay_capability_fs::needs;
use assay_capability_fs::{Cancel, blocking};
use bindings::assay::host::tar;
use extract::Selection;
use reader::{Entry, Kind};
use std::fs::File;
use std::io::BufReader;
use std::sync::Arc;
use wasmtime::Result;
use wasmtime::component::{Accessor, HasSelf, Resource};
use writer::{Content, Writer};

mod bindings {
    wasmtime::component::bindgen!({
        inline: "package assay:capability; world capability { import assay:host/tar@0.1.0; }",
        path: "../../wit",
        wasmtime_crate: assay_capability_api::linked,
        imports: { default: trappable },
        trappable_error_type: { "assay:host/types.error" => assay_capability_api::HostError },
        require_store_data_send: true,
        with: {
            "assay:host/types@0.1.0": assay_capability_api::types,
            "assay:host/tar@0.1.0.writer": crate::Writing,
        },
    });
}

/// What the name of a member takes beside its bytes.
const MEMBER: usize = 64;
/// Hard links that one member leads through; each costs reading the archive once more.
const MAX_LINKS: usize = 4;

/// The capability `tar`.
pub struct Tar;

impl Capability for Tar {
    fn name(&self) -> &'static str {
        "tar"
    }

    fn summary(&self) -> &'static str {
        "tar archives"
    }

    fn always_linked(&self) -> bool {
        true
    }

    fn needs(&self) -> &'static [Need] {
        const NEEDS: &[Need] = &[
            needs::write("tar.create"),
            needs::by("tar.create", Literal::Unless(|directory| Some(format!("read:{directory}")))).at(1),
            needs::read_option("tar.create", "file"),
            needs::read("tar.extract"),
            needs::change("tar.extract").at(1),
            needs::read("tar.*"),
        ];
        NEEDS
    }

    fn link(&self, linker: &mut Linker<Ctx>) -> Result<()> {
        tar::add_to_linker::<_, HasSelf<Ctx>>(linker, |ctx| ctx)
    }
}

/// An archive that a script writes; none while a call works on it, and after one that failed.
pub struct Writing(Option<Box<Writer>>);

type Host = HasSelf<Ctx>;
type Outcome<T> = std::result::Result<T, Error>;

/// What reading an archive holds beside the memory of its format: buffers, and what is known of an entry.
const READING: usize = 2 * file::PIECE + reader::HELD;

/// Opens an archive, takes the memory for it, and does `work` with it where blocking is allowed. `held` is what the
/// arguments of the call take.
async fn with_archive<T: Send + 'static>(
    run: Arc<Run>,
    held: Held,
    path: String,
    compression: Option<String>,
    bounds: Bounds,
    work: impl FnOnce(&Arc<Run>, (&str, Archive<BufReader<File>>), &Cancel) -> Outcome<T> + Send + 'static,
) -> HostResult<T> {
    let share = Share::take(&run, 0, READING).await?;
    blocking(held, move |cancel| {
        let source = Source::open(&run, &path)?;
        let format = archive::format(compression.as_deref(), &source)?;
        let archive = archive::read(source.input, &path, format, bounds, share, (&run, cancel))?;
        work(&run, (&path, archive), cancel)
    })
    .await
}

fn run(accessor: &Accessor<Ctx, Host>) -> Arc<Run> {
    accessor.with(|mut access| access.get().run.clone())
}

fn bounds(bounds: tar::Bounds) -> Bounds {
    Bounds { entries: bounds.entries, size: bounds.max_size, ratio: bounds.max_ratio }
}

fn shown(entry: Entry) -> tar::Entry {
    let kind = match entry.kind {
        Kind::File => tar::Kind::File,
        Kind::Directory => tar::Kind::Directory,
        Kind::Symlink => tar::Kind::Symlink,
        Kind::Hardlink => tar::Kind::Hardlink,
        Kind::Other(_) => tar::Kind::Other,
    };
    tar::Entry {
        name: entry.name,
        kind,
        size: entry.size,
        mode: entry.mode,
        modified: entry.modified,
        target: entry.target,
    }
}

impl tar::Host for Ctx {}

impl tar::HostWithStore<Ctx> for Host {
    async fn entries(
        accessor: &Accessor<Ctx, Self>,
        path: String,
        compression: Option<String>,
        most: tar::Bounds,
    ) -> HostResult<Vec<tar::Entry>> {
        let (run, most) = (run(accessor), bounds(most));
        let held = run.hold(&[&path]).await?;
        let listed = with_archive(run, held, path, compression, most, move |run, archive, _| {
            let (entries, held) = archive::list(run, archive, most)?;
            Ok((entries.into_iter().map(shown).collect(), held))
        });
        // Held until the entries are on their way to the guest.
        let (entries, _held) = listed.await?;
        Ok(entries)
    }

    async fn extract(
        accessor: &Accessor<Ctx, Self>,
        path: String,
        destination: String,
        how: tar::Selection,
    ) -> HostResult<tar::Extracted> {
        let (run, most) = (run(accessor), bounds(how.bounds));
        let mut held = run.hold(&[&path, &destination]).await?;
        held.grow(how.members.iter().map(|member| MEMBER + member.len()).sum())?;
        let selection = Selection {
            bounds: most,
            members: how.members,
            strip: usize::try_from(how.strip).unwrap_or(usize::MAX),
            skip_unsafe: how.skip_unsafe,
        };
        with_archive(run, held, path, how.compression, most, move |run, archive, _| {
            assay_capability_fs::make_directory(run, &destination)?;
            let directory = assay_capability_fs::enter_directory(run, Access::Write, &destination)?;
            let done = extract::extract(run, archive, directory, &selection)?;
            Ok(tar::Extracted { entries: done.entries, bytes: done.bytes, skipped: done.skipped })
        })
        .await
    }

    async fn member(
        accessor: &Accessor<Ctx, Self>,
        path: String,
        destination: String,
        name: Vec<u8>,
        compression: Option<String>,
        most: tar::Bounds,
    ) -> HostResult<u64> {
        let (run, most) = (run(accessor), bounds(most));
        let mut held = run.hold(&[&path, &destination]).await?;
        held.grow(2 * name.len())?;
        let again = compression.clone();
        with_archive(run, held, path, compression, most, move |run, (shown, first), cancel| {
            let (mut archive, mut name) = (first, name);
            for _ in 0..MAX_LINKS {
                match archive::member(run, (shown, archive), &name, &destination, most)? {
                    Member::Unpacked(size) => return Ok(size),
                    Member::Link(target) => name = target,
                }
                let source = Source::open(run, shown)?;
                let format = archive::format(again.as_deref(), &source)?;
                let share = Share::small(run)?;
                archive = archive::read(source.input, shown, format, most, share, (run, cancel))?;
            }
            Err(error(ErrorCode::InvalidData, format!("{shown}: hard links lead to each other")))
        })
        .await
    }

    async fn create(
        accessor: &Accessor<Ctx, Self>,
        output: String,
        compression: String,
        level: Option<i32>,
    ) -> HostResult<Resource<Writing>> {
        let run = run(accessor);
        let held = run.hold(&[&output]).await?;
        let format = match compression.as_str() {
            "none" => None,
            name => Some(Format::parse(name)?),
        };
        let level = format.map(|format| format.level(level)).transpose()?.unwrap_or_default();
        let memory = format.map_or(0, |format| format.packing_memory(level, run.budget.limit()));
        let share = Share::take(&run, memory, file::PIECE).await?;
        let writer = blocking(held, move |_| Writer::create(&run, &output, (format, level), share)).await?;
        let writing = Writing(Some(Box::new(writer)));
        Ok(accessor.with(|mut access| access.get().table.push(writing))?)
    }
}

fn take(accessor: &Accessor<Ctx, Host>, this: &Resource<Writing>) -> HostResult<(Arc<Run>, Box<Writer>)> {
    accessor.with(|mut access| {
        let ctx = access.get();
        match ctx.table.get_mut(this)?.0.take() {
            Some(writer) => Ok((ctx.run.clone(), writer)),
            None => Err(error(
                ErrorCode::InvalidArgument,
                "the archive is finished or has failed, or another task is writing it",
            )
            .into()),
        }
    })
}

impl tar::HostWriter for Ctx {
    fn drop(&mut self, this: Resource<Writing>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl tar::HostWriterWithStore<Ctx> for Host {
    async fn add(
        accessor: &Accessor<Ctx, Self>,
        this: Resource<Writing>,
        name: Vec<u8>,
        content: tar::Content,
        mode: Option<u32>,
        modified: Option<i64>,
    ) -> HostResult<()> {
        let (run, mut writer) = take(accessor, &this)?;
        let bytes = match &content {
            tar::Content::Data(data) | tar::Content::Symlink(data) => data.len(),
            tar::Content::File(path) => 4 * path.len() + file::PIECE,
            tar::Content::Directory => 0,
        };
        let held = run.budget.take(4 * name.len() + bytes)?;
        let content = match content {
            tar::Content::Data(data) => Content::Data(data),
            tar::Content::File(path) => Content::File(path),
            tar::Content::Symlink(target) => Content::Symlink(target),
            tar::Content::Directory => Content::Directory,
        };
        let writer = blocking(held, move |cancel| {
            writer.add(&run, &name, content, (mode, modified), cancel)?;
            Ok(writer)
        })
        .await?;
        accessor.with(|mut access| {
            access.get().table.get_mut(&this)?.0 = Some(writer);
            Ok(())
        })
    }

    async fn finish(accessor: &Accessor<Ctx, Self>, this: Resource<Writing>) -> HostResult<u64> {
        let (run, writer) = take(accessor, &this)?;
        blocking(run.budget.nothing(), move |_| writer.finish()).await
    }
}
