//! Scripts that would go on for ever or hold all memory, in `tests/attacks`: the tests see that they end, and
//! `cargo xtask bench limits` measures when.

use crate::cases::{self, Case};
use crate::executable::{Directory, root};
use crate::servers::{self, Server};
use std::collections::BTreeMap;
use std::fs::File;

/// The attacks of a file.
///
/// # Panics
/// When the file cannot be read or understood.
pub fn of(name: &str) -> Vec<Case> {
    let path = root().join("tests/attacks").join(format!("{name}.lua"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    cases::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What the attacks on memory begin with: a text of 8 MiB, and many calls at a time of which each may fail; of their errors
/// one about a limit counts.
pub const PRELUDE: &str = "
local big = ('a'):rep(8 << 20)
local function many(count, call)
  local tasks, last = {}, nil
  for i = 1, count do
    tasks[i] = function()
      local ok, err = pcall(call, i)
      if not ok and not (last and last.code == 'limit') then last = err end
    end
  end
  async.all(tasks)
  if last then error(last, 0) end
end
";

/// The directory and the servers of the attacks on memory.
pub struct Scene {
    pub directory: Directory,
    values: BTreeMap<String, String>,
    _servers: Vec<Server>,
}

impl Scene {
    /// # Panics
    /// When a server does not start, or a file cannot be made.
    #[allow(clippy::new_without_default, reason = "starting servers is not a default value")]
    pub fn new() -> Scene {
        let directory = directory();
        let started: Vec<Server> = ["http", "ws", "registry_fake", "postgres", "mariadb"]
            .into_iter()
            .map(|name| servers::start(name, directory.path()).expect(name))
            .collect();
        let values = started.iter().flat_map(|server| server.values.clone()).collect();
        Scene { directory, values, _servers: started }
    }

    /// The script of an attack on memory, which tells on stderr in what error it `ENDED`.
    pub fn script(&self, attack: &Case) -> String {
        let code = cases::substitute(attack.code(), &self.values);
        format!(
            "{PRELUDE} local ok, err = pcall(function() {code} end) io.stderr:write('ENDED ', tostring(err), '\\n')"
        )
    }
}

/// A directory with a file of 4 GiB that takes no room, a small one, and a directory of 100,000 files.
fn directory() -> Directory {
    let directory = Directory::new();
    File::create(directory.path().join("sparse"))
        .and_then(|file| file.set_len(4 << 30))
        .expect("a sparse file");
    directory.write("small", "x");
    let many = directory.path().join("many");
    std::fs::create_dir(&many).expect("a directory");
    let first = many.join("n".repeat(100));
    File::create(&first).expect("a file");
    for n in 0..100_000 {
        std::fs::hard_link(&first, many.join(format!("{}{n}", "n".repeat(100)))).expect("a further name");
        if n == 30_000 || n == 60_000 || n == 90_000 {
            // File systems bound the names of one file.
            std::fs::remove_file(&first).and_then(|()| File::create(&first).map(drop)).expect("another file");
        }
    }
    directory
}
