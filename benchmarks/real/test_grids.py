"""The cutter, on grids that are painted here: every tile has its own colour, and frames and texts are around it."""

import numpy as np
import pytest

from benchmarks.real import grids
from benchmarks.real.grids import CHECKPOINTS, NAMES, SIDE, TILE, Row


def painted(rows: int, columns: int, header: int, left: int) -> np.ndarray:
    """A sheet whose tile in row r and column c is (10 r, 10 c, 100) with a red frame of 8 pixels; the rest is white."""
    sheet = np.full((header + rows * TILE, left + columns * TILE, 3), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            tile = sheet[header + row * TILE :, left + column * TILE :][:TILE, :TILE]
            tile[:] = (255, 0, 0)
            tile[8:-8, 8:-8] = (10 * row, 10 * column, 100)
    return sheet


@pytest.mark.parametrize("header", [89, 101, 125, 131])
def test_a_tile_is_cut_clear_of_its_frame_and_on_whole_jpeg_blocks(header):
    sheet = painted(2, CHECKPOINTS, header, NAMES)
    tiles = grids.cut_row(sheet, 1)
    assert [tile.shape for tile in tiles] == [(SIDE, SIDE, 3)] * CHECKPOINTS
    for column, tile in enumerate(tiles):
        assert (tile == (10, 10 * column, 100)).all()
    top = next(place for place in range(0, 2 * TILE, 8) if np.shares_memory(tiles[0][0], sheet[place]))
    assert top % 8 == 0


def test_a_sheet_of_another_layout_is_refused():
    sheet = painted(2, CHECKPOINTS, 125, NAMES)
    with pytest.raises(ValueError, match="has no row 2 of 10 tiles"):
        grids.cut_row(sheet, 2)
    with pytest.raises(ValueError, match="a grid of 8248 x 1661 pixels has no row"):
        grids.cut_row(sheet[:, 8:], 0)
    with pytest.raises(ValueError, match="does not show 16 strengths"):
        grids.cut_strengths(sheet)
    with pytest.raises(ValueError, match="does not show 4 x 4 photos"):
        grids.cut_photos(sheet[:1900])


def test_strengths_are_cut_in_order():
    tiles = grids.cut_strengths(painted(1, 16, 106, 0))
    assert [int(tile[0, 0, 1]) for tile in tiles] == [10 * place for place in range(16)]
    assert all((tile == tile[0, 0]).all() for tile in tiles)
    assert grids.STRENGTHS[13:] == (1.3, 1.4, 1.5)


def test_photos_are_cut_out_of_a_white_sheet():
    sheet = np.full((2000, 2000, 3), 255, np.uint8)
    for row in range(4):
        for column in range(4):
            sheet[29 + 493 * row : 493 + 493 * row, 29 + 493 * column : 493 + 493 * column] = (10 * row, 10 * column, 7)
    photos = grids.cut_photos(sheet)
    assert len(photos) == 16
    for place, photo in enumerate(photos):
        assert photo.shape == (448, 448, 3)
        assert (photo == (10 * (place // 4), 10 * (place % 4), 7)).all()


def test_every_run_is_named_once_and_the_default_runs_are_taken_from_total_steps():
    found = list(grids.rows())
    assert len(found) == len(set(found)) == 72
    assert Row("Total Steps", "GR ∞", 1) in found
    assert Row("Betas", "GR 1.02", 1) not in found
    assert Row("Growth Rate", "", 2).key == "Growth Rate/2"
    base = grids.BASES[grids.base_name(Row("Network Rank", "GR ∞", 0))]
    assert [kind for kind, row in base.items() if row.category == "Network Rank"] == ["ER - Complex"]
    assert grids.base_name(found[0]) == "usual"
