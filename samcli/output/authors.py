"""Count objects by their author: the machine, earlier labels, people who corrected one, people who drew one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from samcli.output.journal import JournalEntry
from samcli.types import Author, Instance


def authors_but_machine(instances: Iterable[Instance]) -> dict[Author, Counter[int]]:
    """Return the numbers of instances by class id, of each author but the machine."""
    found: dict[Author, Counter[int]] = {}
    for one in instances:
        if one.author is not Author.MACHINE:
            found.setdefault(one.author, Counter())[one.class_id] += 1
    return found


def authors_of(entry: JournalEntry) -> dict[Author, Counter[int]]:
    """Return the numbers of an image's instances by class id, of each author."""
    found = {author: Counter(dict(counts)) for author, counts in entry.authors}
    machine = Counter(dict(entry.instances))
    for counts in found.values():
        machine -= counts
    return {Author.MACHINE: machine, **found}


def count_authors(entries: Iterable[JournalEntry]) -> Counter[Author]:
    """Return the numbers of instances of images by author."""
    total, others = 0, Counter[Author]()
    for entry in entries:
        total += entry.objects
        for author, counts in entry.authors:
            others[author] += sum(number for _, number in counts)
    return with_machine(total, others)


def with_machine(total: int, others: Mapping[Author, int]) -> Counter[Author]:
    """Return the numbers of instances by author; those of the machine are what `others` leave of the total."""
    return Counter({**others, Author.MACHINE: total - sum(others.values())})


def author_counts(counts: Mapping[Author, int]) -> dict[str, int]:
    """Return plain values for JSON: every author by name."""
    return {author.value: counts.get(author, 0) for author in Author}
