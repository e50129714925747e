//! The command catalogue: one table of everything the service knows about Redis commands.
//!
//! Name, arity, key positions, breaker lane, retry class, cost, and who may run it: validation, scopes, confinement,
//! lanes, retries and `docs/commands.md` are all derived from the rows here, so no two of them can disagree. The facts
//! (arity, flags, keys) are those of Redis' own `COMMAND` table, checked against a live server by the integration
//! suite; the judgements (class, weight, access) are ours.
//!
//! | file | what |
//! |---|---|
//! | `row` | one row and its words |
//! | `refine` | how arguments change the class, or forbid the call |
//! | `cost` | what a number among the arguments makes of the cost, and its bounds |
//! | `keys` | where keys and channels are |
//! | `docs` | the table as a document |
//! | `acl` | the table as an access list of Redis |
//! | the others | one family of commands each |
//!
//! Words are compared as Redis compares them, up to a zero byte. Limits: what is not in the table is [`UNKNOWN`]: sent when
//! asked for, never repeated, its keys unnameable. A rule errs on the side of "do not repeat".

mod acl;
mod cost;
mod docs;
mod keys;
mod refine;
mod row;

mod arrays;
mod bitmaps;
mod cluster;
mod connection;
mod generic;
mod geo;
mod hashes;
mod json;
mod lists;
mod probabilistic;
mod publish;
mod scripting;
mod search;
mod server;
mod sets;
mod sorted_sets;
mod streams;
mod strings;
mod time_series;
mod vectors;

pub use acl::{AclOptions, SERVICE_USER, UnfitUser, acl};
pub use cost::{MERGED_MOST, SCANS_MUCH, weight_of};
pub use docs::markdown;
pub use keys::{KeysUnknown, channel_positions, key_positions, sort_patterns};
pub use refine::{Condition, Refusal, Rule, class_of, refusal};
pub use row::{Access, Class, Keys, Lane, Spec, Special, UNKNOWN, Weight};

/// The arguments of one call, the command's name at index 0.
///
/// Both functions must cost the same for any index and length: rules walk all arguments of a call, and callers send
/// many.
pub trait Arguments {
    /// How many there are, the name included.
    fn count(&self) -> usize;
    /// One of them, or `None` past the end.
    fn at(&self, index: usize) -> Option<&[u8]>;
}

impl<T: AsRef<[u8]>> Arguments for [T] {
    fn count(&self) -> usize {
        self.len()
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.get(index).map(AsRef::as_ref)
    }
}

impl<T: AsRef<[u8]>> Arguments for Vec<T> {
    fn count(&self) -> usize {
        self.len()
    }

    fn at(&self, index: usize) -> Option<&[u8]> {
        self.get(index).map(AsRef::as_ref)
    }
}

/// The row of the command these arguments call, in any letter case; a known subcommand has a row of its own.
///
/// Costs one hash of the name and one comparison; allocates nothing.
pub fn find(args: &(impl Arguments + ?Sized)) -> &'static Spec {
    let mut name = Name::new();
    // A bar joins container and subcommand here; Redis has no command with one in its name.
    let first = args.at(0).filter(|first| !first.contains(&b'|'));
    let Some(spec) = first.and_then(|first| name.push(first)).and_then(lookup) else {
        return &UNKNOWN;
    };
    if !spec.container {
        return spec;
    }
    let subcommand = args.at(1).and_then(|subcommand| {
        name.push(b"|")?;
        name.push(subcommand).and_then(lookup)
    });
    subcommand.unwrap_or(spec)
}

/// Every row, family after family, sorted by name within each.
pub fn table() -> &'static [Spec] {
    &TABLE
}

/// Families in the order of the documents: heading and rows.
pub fn families() -> impl Iterator<Item = (&'static str, &'static [Spec])> {
    FAMILIES.iter().map(|family| (family.title, family.rows))
}

/// A family of commands: its heading and its rows.
struct Family {
    title: &'static str,
    rows: &'static [Spec],
}

const FAMILIES: &[Family] = &[
    Family { title: "Strings", rows: strings::ROWS },
    Family { title: "Hashes", rows: hashes::ROWS },
    Family { title: "Lists", rows: lists::ROWS },
    Family { title: "Sets", rows: sets::ROWS },
    Family { title: "Sorted sets", rows: sorted_sets::ROWS },
    Family { title: "Streams", rows: streams::ROWS },
    Family { title: "Bitmaps and HyperLogLog", rows: bitmaps::ROWS },
    Family { title: "Geospatial", rows: geo::ROWS },
    Family { title: "Keys of any type", rows: generic::ROWS },
    Family { title: "Publish and subscribe", rows: publish::ROWS },
    Family { title: "Scripts and functions", rows: scripting::ROWS },
    Family { title: "Connections and transactions", rows: connection::ROWS },
    Family { title: "Server", rows: server::ROWS },
    Family { title: "Cluster", rows: cluster::ROWS },
    Family { title: "Arrays", rows: arrays::ROWS },
    Family { title: "Vector sets", rows: vectors::ROWS },
    Family { title: "JSON documents", rows: json::ROWS },
    Family { title: "Probabilistic structures", rows: probabilistic::ROWS },
    Family { title: "Time series", rows: time_series::ROWS },
    Family { title: "Search", rows: search::ROWS },
];

static TABLE: [Spec; COUNT] = joined();
static INDEX: [u16; SLOTS] = indexed();

const COUNT: usize = count();
/// Slots of the hash index: a power of two, at least twice the rows, so that a probe rarely meets a stranger.
const SLOTS: usize = 2048;
const EMPTY: u16 = u16::MAX;
/// Longer names are unknown without a look. `CLUSTER|COUNT-FAILURE-REPORTS` has 29 bytes.
const LONGEST_NAME: usize = 32;

const _: () = assert!(SLOTS.is_power_of_two() && SLOTS >= 2 * COUNT, "enlarge SLOTS");

const fn count() -> usize {
    let (mut family, mut rows) = (0, 0);
    while family < FAMILIES.len() {
        rows += FAMILIES[family].rows.len();
        family += 1;
    }
    rows
}

const fn joined() -> [Spec; COUNT] {
    let mut table = [row::BLANK; COUNT];
    let (mut family, mut at) = (0, 0);
    while family < FAMILIES.len() {
        let rows = FAMILIES[family].rows;
        let mut row = 0;
        while row < rows.len() {
            table[at] = rows[row];
            at += 1;
            row += 1;
        }
        family += 1;
    }
    table
}

/// Open addressing with linear probing, built by the compiler; a name that appears twice does not compile.
const fn indexed() -> [u16; SLOTS] {
    let table = joined();
    let mut index = [EMPTY; SLOTS];
    let mut row = 0;
    while row < COUNT {
        let name = table[row].name.as_bytes();
        assert!(name.len() <= LONGEST_NAME, "enlarge LONGEST_NAME");
        let mut slot = hash(name) & (SLOTS - 1);
        while index[slot] != EMPTY {
            assert!(!same(table[index[slot] as usize].name.as_bytes(), name), "a command is in the table twice");
            slot = (slot + 1) & (SLOTS - 1);
        }
        index[slot] = row as u16;
        row += 1;
    }
    index
}

fn lookup(name: &[u8]) -> Option<&'static Spec> {
    let mut slot = hash(name) & (SLOTS - 1);
    loop {
        let spec = TABLE.get(usize::from(INDEX[slot]))?;
        if spec.name.as_bytes() == name {
            return Some(spec);
        }
        slot = (slot + 1) & (SLOTS - 1);
    }
}

/// FNV-1a, 32 bits: short names, no adversary (a collision costs one more comparison, and callers cannot add rows).
const fn hash(name: &[u8]) -> usize {
    let (mut hash, mut at) = (0x811c_9dc5_u32, 0);
    while at < name.len() {
        hash = (hash ^ name[at] as u32).wrapping_mul(0x0100_0193);
        at += 1;
    }
    // The low bits alone mix poorly for names that differ in their last letter only.
    (hash ^ (hash >> 15)) as usize
}

const fn same(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut at = 0;
    while at < left.len() {
        if left[at] != right[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// A name being upper-cased on the stack.
struct Name {
    bytes: [u8; LONGEST_NAME],
    length: usize,
}

impl Name {
    const fn new() -> Self {
        Self { bytes: [0; LONGEST_NAME], length: 0 }
    }

    /// Appends a part and returns all there is; `None` when no row is that long.
    fn push(&mut self, part: &[u8]) -> Option<&[u8]> {
        let part = as_c_reads(part);
        let end = self.length + part.len();
        let room = self.bytes.get_mut(self.length..end)?;
        room.copy_from_slice(part);
        room.make_ascii_uppercase();
        self.length = end;
        self.bytes.get(..end)
    }
}

/// Option words are compared as Redis does: letter case does not matter, and a zero byte ends the word.
fn is_word(argument: &[u8], word: &str) -> bool {
    as_c_reads(argument).eq_ignore_ascii_case(word.as_bytes())
}

/// What Redis' comparisons see of an argument: they are those of C, so `STORE\0x` is `STORE` to them.
fn as_c_reads(argument: &[u8]) -> &[u8] {
    argument.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether these can be the names of a command and its subcommand: printable ASCII and nothing else.
///
/// Anything else is no command Redis has, and may be one to its comparisons all the same (`CLIENT\0x`).
pub fn names_are_plain(spec: &Spec, args: &(impl Arguments + ?Sized)) -> bool {
    let names = 1 + usize::from(spec.container || spec.name.contains('|'));
    (0..names).filter_map(|at| args.at(at)).all(|name| name.iter().all(u8::is_ascii_graphic))
}

/// A call written as one line, for tests.
#[cfg(test)]
fn words(call: &str) -> Vec<Vec<u8>> {
    call.split_whitespace().map(|word| word.as_bytes().to_vec()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(call: &str) -> &'static str {
        find(&words(call)).name
    }

    #[test]
    fn every_row_is_found_under_its_own_name_in_any_case() {
        for spec in table() {
            let call = spec.name.replace('|', " ");
            assert_eq!(name(&call), spec.name);
            assert_eq!(name(&call.to_lowercase()), spec.name);
        }
    }

    #[test]
    fn subcommands_resolve_and_unknown_ones_fall_back_to_their_container() {
        assert_eq!(name("client kill id 7"), "CLIENT|KILL");
        assert_eq!(name("Client Frobnicate"), "CLIENT");
        assert_eq!(name("client"), "CLIENT");
        assert_eq!(name("command"), "COMMAND");
        assert_eq!(name("cluster count-failure-reports x"), "CLUSTER|COUNT-FAILURE-REPORTS");
        assert_eq!(name("get kill"), "GET");
    }

    #[test]
    fn what_is_not_in_the_table_is_unknown() {
        let long = "x".repeat(LONGEST_NAME + 1);
        let client_long = format!("client {long}");
        assert_eq!(name(&client_long), "CLIENT");
        for call in ["", "nosuch", "client|kill", "get|", "|", &long, "ge", "gett"] {
            assert_eq!(find(&words(call)), &UNKNOWN, "{call}");
        }
        assert_eq!(find(&Vec::<&[u8]>::new()), &UNKNOWN);
        assert_eq!(find(&[&b""[..]][..]), &UNKNOWN);
    }

    #[test]
    fn names_are_printable_ascii() {
        let plain = |args: &[&[u8]]| names_are_plain(find(args), args);
        assert!(plain(&[b"get", b"\xff\x00"]) && plain(&[b"OBJECT", b"freq", b"\x00"]) && plain(&[]) && plain(&[b""]));
        for args in [&[&b"GET\0"[..]][..], &[b"GET k", b"k"], &[b"g\xc3\xa9t"], &[b"OBJECT", b"FREQ\0x", b"k"]] {
            assert!(!plain(args), "{args:?}");
        }
    }

    #[test]
    fn unknown_is_the_cautious_row() {
        assert_eq!((UNKNOWN.lane, UNKNOWN.class), (Lane::Write, Class::NonIdempotent));
        assert_eq!((UNKNOWN.access, UNKNOWN.keys), (Access::Open, Keys::Unknown));
    }

    #[test]
    fn rows_are_sorted_within_their_family() {
        for family in FAMILIES {
            assert!(family.rows.is_sorted_by_key(|spec| spec.name), "{} is not sorted by name", family.title);
        }
    }

    #[test]
    fn every_row_is_sane() {
        for spec in table() {
            let name = spec.name;
            let parts = 1 + name.matches('|').count();
            assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && !byte.is_ascii_lowercase()), "{name}");
            assert!(usize::from(spec.arity.unsigned_abs()) >= parts, "{name}: arity {}", spec.arity);
            assert!(spec.since.split('.').count() == 3, "{name}: since {}", spec.since);
            assert_eq!(spec.lane == Lane::Read, spec.class == Class::Read, "{name}: the lane follows from the class");
            assert!(keys_fit(spec), "{name}: keys {:?} do not fit arity {}", spec.keys, spec.arity);
        }
    }

    fn keys_fit(spec: &Spec) -> bool {
        let arguments = usize::from(spec.arity.unsigned_abs());
        match spec.keys {
            Keys::None | Keys::Unknown => true,
            Keys::At { first, last, step } => {
                let ordered = usize::try_from(last).map_or(last >= -2, |last| (first..arguments).contains(&last));
                // SUNSUBSCRIBE and friends aside, a command with keys demands at least one.
                step > 0 && first < arguments && ordered
            }
            Keys::Count { at, first } => first == at + 1 && at < arguments,
            Keys::Special(_) => arguments >= 2,
        }
    }

    #[test]
    fn flags_agree_with_lanes() {
        for spec in table() {
            let has = |flag: &str| spec.flags.contains(&flag);
            assert!(!(has("write") && has("readonly")), "{}", spec.name);
            assert!(!has("write") || spec.lane == Lane::Write, "{}", spec.name);
            assert!(!has("admin") || spec.access != Access::Open, "{} is administration and open", spec.name);
        }
    }

    #[test]
    fn every_container_has_a_row_and_only_containers_have_subcommands() {
        for spec in table() {
            if let Some((container, _)) = spec.name.split_once('|') {
                assert!(find(&words(container)).container, "{}", spec.name);
            }
        }
    }

    #[test]
    fn a_container_is_never_more_open_than_its_most_guarded_subcommand_needs() {
        for container in table().iter().filter(|spec| spec.container && spec.access == Access::Open) {
            let prefix = format!("{}|", container.name);
            let guarded = table().iter().find(|spec| spec.name.starts_with(&prefix) && spec.access != Access::Open);
            assert_eq!(guarded.map(|spec| spec.name), None);
        }
    }

    #[test]
    fn what_stalls_or_changes_a_connection_is_never_open() {
        for spec in table() {
            if matches!(spec.class, Class::Blocking | Class::ConnectionState) {
                assert_eq!(spec.access, Access::Never, "{}", spec.name);
            }
            if spec.class == Class::Admin {
                assert_ne!(spec.access, Access::Open, "{}", spec.name);
            }
        }
    }
}
