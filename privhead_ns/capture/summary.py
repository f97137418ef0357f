"""Summary of a protected capture for its owner."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from privhead_ns.capture.subject import Subject, worded
from privhead_ns.operators import OperatorConfig

NAMED = 12
"""Neutral views that the summary names; the others it counts."""
LARGER = 1.2
"""Ratio of the photographs' resolution to the views' from which the summary mentions that there is more."""
SCALED_REMARK = (
    "The photographs are not of the {}x{} pixels that transforms.json says, but of the same shape: the focal lengths "
    "and principal points were scaled with them."
)
GEOGRAPHIC_REMARK = (
    "The camera poses are far from their frame's origin, as in a geographic frame: they were stored relative to a "
    "point near the head, which is not in the protected capture; `privhead export --frame-of` puts a mesh back."
)
UNUSED_MASK_REMARK = (
    "{} looks like the mask of {}, but was not used, for transforms.json does not name it: to use masks, add "
    '"mask_path" to each frame.'
)
FEWER_REMARK = "Views have {}x{} pixels instead of {}: most photographs have no more on the head."
LARGER_REMARK = (
    "Half of the photographs show the head with {} pixels or more: --size up to that gives a finer mesh than these {}, "
    "and protected views that show more{}."
)
OUTLINE = "along an outline against a known background the brightness of {} can be estimated"
NOT_PROMISED = {
    "head": "programs made for it told nearly all protected views of ten heads apart, and turned many into pictures "
    "that face recognition takes for the person (`privhead audit` measures it for yours); "
    f"{OUTLINE.format('skin and hair')}; and the shape of a head identifies a person by itself, as does the mesh made "
    "from it",
    "object": "WRITING STAYS READABLE in it, and no detector looks for writing in the neutral views (`--blur` makes it "
    f"harder to read; look at --preview); {OUTLINE.format('the object')}; and the mesh may show what is embossed",
    "room": "WRITING STAYS READABLE in it, and in the neutral views no detector looks for writing, and the one for "
    "faces MISSES PEOPLE who are far away or turned (`--blur` makes writing harder to read; look at --preview); and "
    "the mesh shows what stands in the room",
}
"""By subject, what a protected capture does not hide."""
WHOLE = {"head": "surroundings included", "object": "surroundings included", "room": "all that they show"}
"""By subject, what is in views without masks."""
BOX_REMARK = "The room's box is {}: if walls lie outside it, pass --box x0 y0 z0 x1 y1 z1, or aabb in transforms.json."
EXPOSURE_REMARK = (
    "The photographs differ in exposure or white balance by up to a factor of {:.2f}; it was divided out, and is not "
    "in the protected capture."
)
REFINED_REMARK = (
    "The outlines of the masks were moved by up to 2 % of the head's width to where colours change, and fit each other "
    "better now; --keep-masks keeps them as they were."
)
MADE_MASKS_REMARK = (
    "The photographs have no masks; they were made here, from colours and cameras: look at their outlines with "
    "--preview, and give better ones with mask_path, or pass --ignore-masks, where they are wrong."
)
NO_MASKS_REMARK = "There are no masks, without which the mesh of a rendered head was half as accurate."
NOISE_REMARK = "The sensor's noise was removed from {} views: the operator would have stored it as texture."


@dataclass(frozen=True)
class ProtectSummary:
    """Facts about the capture that `protect` wrote."""

    output_dir: Path
    neutral_names: tuple[str, ...]
    """The neutral frames' paths in the raw capture."""
    protected: int
    silhouettes: int
    width: int
    height: int
    operator: OperatorConfig
    subject: Subject = "head"
    resized_from: tuple[int, int] | None = None
    """Width and height in transforms.json where photographs had others."""
    geographic: bool = False
    """Whether the cameras were given in a geographic frame."""
    doubtful: tuple[str, ...] = ()
    """Views whose mask or pose agrees badly with the others, each with what is wrong."""
    unused_mask: tuple[Path, str] | None = None
    """A file that looks like a mask but is not named as one, and its frame."""
    size: int = 0
    """Side of the views that was asked for; 0 where it does not matter."""
    native_size: int = 0
    """Side that views of the photographs' own resolution would have: the median."""
    box_size: tuple[float, ...] = ()
    """Sides of the head's box in the capture's units."""
    box_found: str = ""
    """In words, what a room's box was found from."""
    template: str | None = None
    """Name of the template that was posed in the capture."""
    refined_masks: bool = False
    """Whether the outlines of the masks were moved to where colours change."""
    made_masks: bool = False
    """Whether the masks were made here."""
    noisy: int = 0
    """Number of views that noise was removed from."""
    brightest: float = 1.0
    """Largest gain of a photograph over the smallest; 1 where photographs count as equally exposed."""

    @property
    def neutral(self) -> int:
        """Number of neutral views."""
        return len(self.neutral_names)

    def in_plain_words(self) -> str:
        """Describes for the owner what the protected capture contains and what it does not."""
        return worded(self._about_a_head(), self.subject)

    def _about_a_head(self) -> str:
        head = self.subject == "head"
        masked = self.silhouettes == self.neutral + self.protected
        surroundings = "what lies outside the head's outline replaced by one colour" if masked else WHOLE[self.subject]
        more = f" and {self.neutral - NAMED} more" if self.neutral > NAMED else ""
        names = ", ".join(self.neutral_names[:NAMED])
        box = f" ({' x '.join(f'{side:.3g}' for side in self.box_size)} units)" if self.box_size else ""
        template = f", where the template ({self.template}) stands in it" if self.template else ""
        remarks = [
            *([SCALED_REMARK.format(*self.resized_from)] if self.resized_from else []),
            *([UNUSED_MASK_REMARK.format(*self.unused_mask)] if self.unused_mask else []),
            *([GEOGRAPHIC_REMARK] if self.geographic else []),
            *(
                [FEWER_REMARK.format(self.width, self.height, self.size)]
                if max(self.width, self.height) < self.size
                else []
            ),
            *(
                [
                    LARGER_REMARK.format(
                        self.native_size, self.width, ", and that face recognition tells apart more easily" * head
                    )
                ]
                if self.native_size > LARGER * max(self.width, self.height)
                else []
            ),
            *([REFINED_REMARK] if self.refined_masks else []),
            *([MADE_MASKS_REMARK] if self.made_masks else []),
            *([NO_MASKS_REMARK] if head and not self.silhouettes else []),
            *([NOISE_REMARK.format(self.noisy)] if self.noisy else []),
            *([BOX_REMARK.format(self.box_found)] if self.box_found else []),
            *([EXPOSURE_REMARK.format(self.brightest)] if self.brightest > 1 else []),
            *(f"Look at {view}" for view in self.doubtful),
            *([f"In colour are {names}{more}: make sure that none shows the face."] if names else []),
        ]
        return "\n".join(
            [
                f"{self.output_dir} may leave this machine; the photographs it was made from stay where they are.",
                "",
                "In it:",
                f"  - {self.neutral} neutral views as colour photographs, {surroundings};"
                if names
                else "  - no colour photograph;",
                f"  - {self.protected} protected views of {self.width}x{self.height} pixels as the strength of colour "
                f"changes alone ({self.operator.name}, blur {self.operator.blur:g} pixels, {self.operator.levels} "
                "levels);",
                "  - which pixels are unknown;"
                if self.subject == "room"
                else f"  - {self.silhouettes} outlines of the head, and which pixels are unknown;",
                f"  - each camera's place and focal length, the box that holds the head{box}{template} and, if known, "
                "the scale.",
                "",
                "Not in it:",
                f"  - any colour of the {self.protected} protected views;",
                "  - the signs and directions of their colour changes, which would integrate back to the photograph;",
                "  - EXIF, GPS positions, thumbnails and original file names.",
                "",
                "What this does not promise: edges stay visible to a person who looks at a protected view; "
                f"{NOT_PROMISED[self.subject]}.",
                "",
                *remarks,
            ]
        )
