from runkit.checks.arithmetic import ARITHMETIC
from runkit.checks.gather import gather
from runkit.checks.view import ArchiveView
from runkit.records.finding import Finding
from runkit.records.manifest import Arithmetic, Manifest
from tests.checks.builders import manifest_of


def computed(*differing: str) -> Manifest:
    arithmetic = Arithmetic(setting="portable", device="cpu", threads=1, differing=differing)
    return manifest_of("run", arithmetic=arithmetic)


def findings_of(manifest: Manifest) -> tuple[Finding, ...]:
    return gather(ArchiveView((manifest,)), [ARITHMETIC])


def test_known_bits_and_an_older_run_are_no_finding() -> None:
    assert findings_of(computed()) == ()
    assert findings_of(manifest_of("run")) == ()


def test_other_bits_are_named() -> None:
    (finding,) = findings_of(computed("exp", "mm"))
    assert (finding.rule, finding.severity, finding.place) == ("RK411", "info", "sealed.arithmetic.differing")
    assert finding.message == (
        "the machine gave other bits than are known for exp, mm; expected those of every x86-64 processor "
        "with AVX2, so the run repeats on its own kind only"
    )


def test_an_older_manifest_has_the_digest_that_it_had() -> None:
    assert "arithmetic" not in manifest_of("run").to_json()
    assert '"arithmetic"' in computed().to_json()
