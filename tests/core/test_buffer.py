from __future__ import annotations

import pytest

from owmesos.core.ledger import Buffer
from owmesos.errors import InvalidInput


class TestBuffer:
    def test_the_absolute_part_and_the_share_add_up(self) -> None:
        assert Buffer.of(mem=64, cpus=0.5, share=0.1).on(1_000_000) == (500, 164_000)

    def test_by_default_a_twentieth_of_the_memory_stays_free(self) -> None:
        assert Buffer().on(1_000_000) == (0, 50_000)

    def test_an_agent_of_which_nothing_is_known_has_the_absolute_part(self) -> None:
        assert Buffer.of(mem=64).on(0) == (0, 64_000)

    @pytest.mark.parametrize("share", [-0.1, 1.0, 1.5, float("nan")])
    def test_a_share_that_is_none_is_refused(self, share: float) -> None:
        with pytest.raises(InvalidInput, match="share"):
            Buffer.of(share=share)

    @pytest.mark.parametrize("mem", [-1, float("inf"), float("nan")])
    def test_so_is_an_amount_that_is_none(self, mem: float) -> None:
        with pytest.raises(InvalidInput, match="buffer-mem"):
            Buffer.of(mem=mem)
