//! `<numa>`: the nodes that the guest sees.

use witvirt_sdk::core::ByteSize;
use witvirt_sdk::core::domain::Severity;
use witvirt_sdk::core::spec::NumaNode;

use crate::document::{Element, TUNING, Value, Waiver};
use crate::draft::Draft;
use crate::memory::{rounded_up, scaled};

/// As many as QEMU takes.
const MAX_NODES: usize = 128;
/// As many as a machine has; more parts of a list than that are no list.
const MAX_CPUS: usize = 512;
const MAX_CPU: u16 = 512;
/// Distances that libvirt fills in.
const LOCAL: u8 = 10;
const REMOTE: u8 = 20;
const INTERCONNECTS: Waiver =
    Waiver::warning("libvirt.cpu.numa", "bandwidths and latencies of memory are not told to the guest");

/// Reads the cells; their memory is the machine's, as under libvirt.
pub(crate) fn read<'a>(numa: Element<'a>, draft: &mut Draft<'a>) {
    let mut nodes = Vec::new();
    let mut distances = Vec::new();
    for cell in in_order(numa) {
        let Some(memory) = cell.required("memory").and_then(|memory| scaled(memory, cell.attribute("unit")))
        else {
            return;
        };
        let cpus = cell.attribute("cpus").map(cpus).unwrap_or_default();
        cell.waive_parts(&["@memAccess", "@discard", "cache"], &TUNING);
        distances.push(siblings(cell));
        nodes.push(NumaNode { cpus, memory: rounded_up(memory), distances: Vec::new() });
    }
    numa.waive_parts(&["interconnects"], &INTERCONNECTS);
    if nodes.is_empty() || nodes.len() > MAX_NODES {
        return numa
            .report(Severity::Error, "libvirt.cpu.numa", || format!("1 to {MAX_NODES} cells are possible"));
    }
    if distances.iter().any(|list| !list.is_empty()) {
        fill(&mut nodes, &distances);
    }
    let total = nodes.iter().try_fold(0u64, |sum, node| sum.checked_add(node.memory.get()));
    draft.spec.memory = ByteSize(total.unwrap_or(u64::MAX));
    draft.spec.cpu.numa = nodes;
}

/// The cells by their numbers, or as they stand where one has none.
fn in_order(numa: Element<'_>) -> Vec<Element<'_>> {
    let cells = numa.children("cell").take(MAX_NODES + 1);
    let mut cells: Vec<_> = cells
        .enumerate()
        .map(|(position, cell)| {
            (cell.attribute("id").and_then(Value::number::<u32>).unwrap_or(position as u32), cell)
        })
        .collect();
    cells.sort_by_key(|(id, _)| *id);
    for (position, (id, cell)) in cells.iter().enumerate() {
        if *id as usize != position {
            cell.report(Severity::Error, "libvirt.cpu.numa", || {
                format!("the cells' numbers have to be 0, 1, 2 ...: one is {id}, and {position} is missing or twice")
            });
            break;
        }
    }
    cells.into_iter().map(|(_, cell)| cell).collect()
}

/// "0-3,5,^2".
fn cpus(list: Value<'_>) -> Vec<u32> {
    let mut found = std::collections::BTreeSet::new();
    for part in list.text.split(',').take(MAX_CPUS) {
        let (exclude, part) = match part.trim().strip_prefix('^') {
            Some(part) => (true, part),
            None => (false, part.trim()),
        };
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let range = (first.parse::<u16>(), last.parse::<u16>());
        let (Ok(first), Ok(last @ 0..MAX_CPU)) = range else {
            list.refuse("numbers of CPUs like 0-3,5");
            return Vec::new();
        };
        for cpu in first..=last {
            let cpu = u32::from(cpu);
            if exclude {
                found.remove(&cpu)
            } else {
                found.insert(cpu)
            };
        }
    }
    found.into_iter().collect()
}

fn siblings(cell: Element<'_>) -> Vec<(usize, u8)> {
    let Some(distances) = cell.child("distances") else { return Vec::new() };
    let sibling = |sibling: Element<'_>| {
        let id = sibling.required("id").and_then(Value::number::<u8>);
        let value = sibling.required("value").and_then(Value::number::<u8>);
        Some((usize::from(id?), value?))
    };
    distances.children("sibling").take(MAX_NODES).filter_map(sibling).collect()
}

/// What one side does not say is what the other says.
fn fill(nodes: &mut [NumaNode], given: &[Vec<(usize, u8)>]) {
    let said = |from: usize, to: usize| {
        given.get(from)?.iter().find(|(id, _)| *id == to).map(|(_, distance)| *distance)
    };
    let count = nodes.len();
    for (from, node) in nodes.iter_mut().enumerate() {
        let distance = |to| {
            let usual = if from == to { LOCAL } else { REMOTE };
            said(from, to).or_else(|| said(to, from)).unwrap_or(usual)
        };
        node.distances = (0..count).map(distance).collect();
    }
}
