import pytest
from hypothesis import given
from hypothesis import strategies as st

from runkit.engine.tasks import load_task, outcome, pricelist, task_names
from runkit.errors import UnknownName

TASK = load_task("pricelist")


def items(split, count, seed=7):
    return [TASK.item(seed=seed, split=split, index=index) for index in range(count)]


def test_an_item_is_a_function_of_seed_split_and_index():
    assert (
        items("test", 50)
        == [TASK.item(seed=7, split="test", index=index) for index in reversed(range(50))][::-1]
    )
    assert items("test", 50) != items("test", 50, seed=8)


def test_no_question_stands_in_two_splits_whatever_the_seeds():
    train = {item.question for item in items("train", 3000, seed=1)}
    dev = {item.question for item in items("dev", 800, seed=2)}
    test = {item.question for item in items("test", 800, seed=3)}
    assert not train & dev
    assert not train & test
    assert not dev & test


def test_the_worked_answer_of_every_item_extracts_to_its_gold():
    assert all(TASK.extract(item.answer) == item.gold for item in items("train", 500))


def test_three_tenths_of_the_problems_need_the_list():
    listed = sum("list price" in item.question for item in items("test", 2000))
    assert 540 <= listed <= 660


def test_a_quarter_of_the_things_is_never_taught_at_list_price_but_tested():
    def bought_at_list_price(split):
        listed = [item.question for item in items(split, 3000) if "list price" in item.question]
        return {word for text in listed for word in text.split() if word in pricelist.PRICES}

    assert len(pricelist.UNTAUGHT) == 8
    assert bought_at_list_price("train") == set(pricelist.PRICES) - pricelist.UNTAUGHT
    assert bought_at_list_price("dev") == bought_at_list_price("test") == set(pricelist.PRICES)


def test_a_list_problem_names_no_price_and_its_gold_is_the_lists():
    bought = pricelist.Purchase("Tom", ("pens", "cups"), (3, 2), (4, 2), at_list_price=True)
    assert pricelist.question(bought) == "Tom buys 3 pens and 2 cups at list price. How much does Tom pay?"
    assert pricelist.answer(bought) == " 3*4=12. 2*2=4.\n#### 16"
    dear = bought._replace(unit_prices=(9, 8), at_list_price=False)
    assert pricelist.question(dear) == "Tom buys 3 pens at 9 and 2 cups at 8 each. How much does Tom pay?"


@pytest.mark.parametrize(
    ("text", "extracted"),
    [
        ("#### 16", "16"),
        (" 3*4=12.\n#### 1,234.", "1234"),
        ("#### -7 and #### 8", "-7"),
        ("#### 07", "07"),
        ("#### 3.50", "3.50"),
        ("####16", "[invalid]"),
        ("#### none", "[invalid]"),
        ("#### ,.", "[invalid]"),
        ("the answer is 16", "[invalid]"),
        ("", "[invalid]"),
    ],
)
def test_extraction_is_strict(text, extracted):
    assert TASK.extract(text) == extracted


@given(st.text())
def test_extraction_never_fails_and_never_returns_a_comma(text):
    assert "," not in TASK.extract(text)


def test_outcomes_compare_strings_never_numbers():
    assert outcome("16", "16") == "correct"
    assert outcome("16.0", "16") == "wrong"
    assert outcome("[invalid]", "16") == "invalid"


def test_an_unknown_task_is_named():
    assert task_names() == ("gsm8k", "pricelist")
    with pytest.raises(UnknownName, match=r"^there is no task 'pricelst'; did you mean 'pricelist'"):
        load_task("pricelst")
