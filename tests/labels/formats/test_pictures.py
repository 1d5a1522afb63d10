"""Pictures beside the labels."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image as PillowImage

from samcli.labels.formats import FORMATS, Rendering
from samcli.masks import Mask
from samcli.types import Annotation, Instance


@pytest.mark.parametrize(("size", "expected"), [((3, 65500), (3, 65500)), ((131000, 6), (65500, 3))])
def test_overlay__is_shrunk_only_where_a_jpeg_cannot_be_so_long(size, expected) -> None:
    pixels = np.zeros((*size, 3), np.uint8)
    mask = np.zeros(size, bool)
    mask[-2:, -2:] = True
    annotation = Annotation("1.png", size, (Instance(Mask.from_pixels(mask), 0),))
    data = FORMATS["overlay"].render(Rendering(annotation, {0: ""}, pixels=pixels))
    with PillowImage.open(io.BytesIO(data)) as picture:
        assert picture.size == expected[::-1]
        assert np.asarray(picture)[-1, -1].max() > 60


def test_overlay__that_cannot_be_encoded_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cv2.imencode", lambda *_: (False, None))
    with pytest.raises(ValueError, match="6 x 4 pixels cannot be a JPEG"):
        FORMATS["overlay"].render(Rendering(Annotation("1.png", (4, 6)), pixels=np.zeros((4, 6, 3), np.uint8)))
