//! The catalogue as a document: `docs/commands.md` is exactly what this returns.

use std::fmt::Write;

use super::row::{Access, Spec, Weight};
use super::{FAMILIES, Rule, cost};

const INTRODUCTION: &str = "\
# Commands

Generated from the command catalogue. Do not edit it by hand.

Every command a caller may send through the command dialect is in one of the tables below. A command that is not is passed on to
Redis as a non-idempotent write.

| column | what it says |
|---|---|
| command | the name; a subcommand stands behind its container |
| arity | number of arguments with the name (and the subcommand); `-3` means at least three |
| lane | the breaker the command is accounted under, `read` or `write` |
| retry class | what may be done when the command was sent and its reply never came, see below. A `*` marks a class that depends on the arguments |
| weight | `heavy` commands touch data of any size or run scripts: they have a connection of their own and do not count as slow calls. Marked `*`, a call is heavy when a number in it makes it so: a scan or choice of more than 1000, `PFCOUNT` of more than 1000 keys, `MEMORY USAGE` with more than 1000 samples or all, an offset past 64 MiB. So is a batch of more than 1000 commands, or of more than 1 MiB |
| access | `open` to every credential that reaches the keys; a scope the credential must have; or `never`, since it would break a shared connection, the server or the service itself |

## What happens when a reply is lost

Before a command was handed to Redis, or when Redis refused it before running it, any command may be sent again. After that, its
class decides:

| retry class | meaning | after a lost reply |
|---|---|---|
| read | changes nothing | sent again |
| idempotent | absorbing: state and reply do not depend on what it replaces, so running again later, behind others' writes, is as good as running once then | the old connection is fenced off, then sent again |
| idempotent, reply may differ | twice in a row leaves the same state, but the second reply may differ: a repeated `SADD` answers 0, and its caller would believe it was a duplicate | not sent again unless the caller opts in with `Idempotency-Key` or `Collective-Retry: state` |
| conditional | decides by what it finds, so a repetition would contradict its own first answer | not sent again; the outcome is `unknown` |
| non-idempotent | every run counts | never sent again; the outcome is `unknown` |
| blocking | waits inside Redis | not available |
| connection state | changes the connection it runs on | not available |
| administration | changes the server | never sent again |

That a write twice in a row is the same as once is not enough to repeat it, since others may write in between: `LSET` and `LTRIM`
count positions that a push moves, so they are non-idempotent. A `*STORE` command repeated after its sources changed stores the newer
result, which is what one later run stores. `DELETE` of `/v1/keys` and of `/v1/counters` ignores the reply of its command, so it is
idempotent although `DEL` is not.

A pipeline is sent again only if every command in it is a read.

Arguments change a class: `SET` is idempotent, `SET … NX` conditional; `SORT` reads until it gets a `STORE`; a `*STORE` command
whose destination is one of its sources is non-idempotent; `XREAD` with `BLOCK` is refused. `COPY … DB`, like `SELECT`, `MOVE` and
`SWAPDB`, would leave the logical database and is never run.

A few calls do as much as a number in them says, while everyone waits. `SRANDMEMBER`, `HRANDFIELD`, `ZRANDMEMBER` and `VRANDMEMBER`
with a count below -1000, and `PFCOUNT` and `PFMERGE` of more than 5000 keys, are refused.
";

/// The whole document.
pub fn markdown() -> String {
    let mut document = String::from(INTRODUCTION);
    for family in FAMILIES {
        let _ = write!(
            document,
            "\n## {}\n\n| command | arity | lane | retry class | weight | access | since |\n|---|---|---|---|---|---|---|\n",
            family.title
        );
        for spec in family.rows {
            row(&mut document, spec);
        }
    }
    document
}

fn row(document: &mut String, spec: &Spec) {
    let name = spec.name.replace('|', " ");
    let weighs = cost::varies(spec.rule);
    let varies = if spec.rule == Rule::Fixed || weighs && spec.rule != Rule::BitField { "" } else { " *" };
    let more = if weighs && spec.weight == Weight::Light { " *" } else { "" };
    let (lane, class, weight) = (spec.lane.as_str(), spec.class.as_str(), spec.weight.as_str());
    let access = match spec.access {
        Access::Open => "open".to_owned(),
        Access::Scope(scope) => format!("scope `{scope}`"),
        Access::Never => "never".to_owned(),
    };
    let (arity, since) = (spec.arity, spec.since);
    let _ =
        writeln!(document, "| `{name}` | {arity} | {lane} | {class}{varies} | {weight}{more} | {access} | {since} |");
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn every_command_has_a_line() {
        let document = markdown();
        for spec in table() {
            let start = format!("| `{}` | {} | ", spec.name.replace('|', " "), spec.arity);
            assert!(document.contains(&start), "{}", spec.name);
        }
        assert!(document.contains("| `SET` | -3 | write | idempotent * | light | open | 1.0.0 |"));
        assert!(document.contains("| `CLIENT KILL` | -3 | write | connection state | light | never | 2.4.0 |"));
        assert!(document.contains("| `FLUSHALL` | -1 | write | administration | heavy | scope `admin` | 1.0.0 |"));
    }
}
