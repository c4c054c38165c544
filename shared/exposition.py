"""The metrics of several processes as one text, in the form that Prometheus reads."""

from collections.abc import Mapping


def merged(texts: Mapping[str, str], label: str) -> str:
    """Every sample of every text, with `label` saying whose it is; each family told once.

    The texts are prometheus-client's: each family begins with its `# HELP` and `# TYPE`.
    """
    families: dict[str, tuple[list[str], list[str]]] = {}
    for owner, text in texts.items():
        name = ""
        for line in text.splitlines():
            if line.startswith("#"):
                name = line.split(" ", 3)[2]
                comments, _ = families.setdefault(name, ([], []))
                if line not in comments:
                    comments.append(line)
            elif line:
                families[name][1].append(_labelled(line, f'{label}="{owner}"'))
    return "".join(
        "\n".join((*comments, *samples)) + "\n" for comments, samples in families.values()
    )


def _labelled(sample: str, label: str) -> str:
    """A sample with one label more, before the others: values may hold any character."""
    at = next(i for i, character in enumerate(sample) if character in "{ ")
    if sample[at] == " ":
        return f"{sample[:at]}{{{label}}}{sample[at:]}"
    return f"{sample[:at]}{{{label},{sample[at + 1 :]}"
