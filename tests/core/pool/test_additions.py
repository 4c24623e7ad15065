"""What the cluster adds to containers: learned by shape, and forgotten where it may hinder all of a shape."""

from __future__ import annotations

from owmesos.core.pool.additions import Additions
from owmesos.core.pool.containers import ContainerShape
from owmesos.resources import Ask

ONE, OTHER = ContainerShape("python:3", 256), ContainerShape("python:3", 512)
MUCH = Ask(0, 10_000_000)


def test_it_is_forgotten_of_the_shape_whose_runs_wait_alone() -> None:
    additions = Additions()
    assert not additions
    assert additions.learn(ONE, MUCH)
    assert additions.of(OTHER) == MUCH, "one that is new is taken to be like the last"
    assert not additions.waiting(ONE, 0.0, 60.0)
    assert not additions.waiting(ONE, 59.0, 60.0)
    assert additions.waiting(ONE, 60.0, 60.0)
    assert (additions.of(ONE), additions.of(OTHER)) == (Ask(), MUCH)
    assert not additions.waiting(ONE, 200.0, 60.0), "there is nothing to forget"
    assert not additions.learn(ONE, MUCH), "it is as it was"
    assert additions.of(ONE) == MUCH


def test_a_container_that_was_made_begins_the_time_anew() -> None:
    additions = Additions()
    additions.learn(ONE, MUCH)
    additions.waiting(ONE, 0.0, 60.0)
    additions.learn(ONE, MUCH)
    assert not additions.waiting(ONE, 60.0, 60.0)
    additions.none_waits()
    assert not additions.waiting(ONE, 120.0, 60.0)
    assert additions.waiting(ONE, 180.0, 60.0)


def test_it_keeps_so_many_shapes_and_no_more() -> None:
    additions = Additions()
    for number in range(1500):
        shape = ContainerShape("blackbox", 256, f"image{number}")
        additions.learn(shape, Ask(0, number + 1))
        additions.waiting(shape, 0.0, 60.0)
    assert additions.of(ContainerShape("blackbox", 256, "image1400")) == Ask(0, 1401)
    assert additions.of(ContainerShape("blackbox", 256, "image100")) == Ask(0, 1500)
