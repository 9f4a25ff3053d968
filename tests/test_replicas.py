"""Small replicas of the formats of public logs, written here, each with the truth beside it.

Each is read right, or it is refused in one line that names the option to give, and is read right
with that option. The real files are not needed. The rows of `LOG` are in no order of time.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from minisasrec.data import Dataset, DataWarning, load_dataset
from minisasrec.errors import DataError

DAY = 86_400
START = 1_334_000_000  # 2012-04-09 19:33:20 UTC
LOG = [  # user, item, days after the start; no user has two actions at one time
    (0, 2, 20.5), (1, 0, 3.25), (0, 0, 1.0), (2, 3, 9.0), (0, 1, 8.75), (1, 3, 31.0), (2, 1, 2.5),
    (1, 1, 17.5), (2, 0, 26.0), (0, 3, 33.0),
]  # fmt: skip


def numbered(start: int, step: int = 1) -> list[str]:
    return [str(start + step * n) for n in range(4)]


NUMBERS, BOOKS = numbered(1), numbered(101)
MOMENTS = [START + round(days * DAY) for _, _, days in LOG]


def moment(t: float, pattern: str, zone: float = 0) -> str:
    return datetime.fromtimestamp(t, timezone(timedelta(hours=zone))).strftime(pattern)


def truth(users: list[str], items: list[str]) -> dict[str, list[str]]:
    """Each user's items in time order."""
    ordered = sorted(LOG, key=lambda row: row[2])
    return {users[u]: [items[i] for v, i, _ in ordered if v == u] for u in range(3)}


@dataclass
class Replica:
    """A file, what is in it, and how it answers."""

    name: str
    file: str
    line: str | Callable[..., str] = ""  # u, i, t (seconds), n (number of the row) -> a line
    head: str = ""
    users: list[str] = field(default_factory=lambda: NUMBERS)
    items: list[str] = field(default_factory=lambda: BOOKS)
    extra: list[str] = field(default_factory=list)  # lines that are left out by the options
    options: dict[str, Any] = field(default_factory=dict)
    refused: str = ""  # what the refusal without the options says
    titles: dict[str, str] | None = None
    encoding: str = "utf-8"
    pack: Callable[[bytes], bytes] = bytes
    in_order: bool = False  # a format without times
    beside: dict[str, str] = field(default_factory=dict)
    real_users: list[str] | None = None  # as they are read, where that differs from the file
    real_items: list[str] | None = None
    end: str = "\n"

    def write(self, folder: Path) -> Path:
        rows = sorted(LOG, key=lambda row: row[2]) if self.in_order else LOG
        lines = []
        for n, (u, i, days) in enumerate(rows):
            t = START + round(days * DAY)
            values = {"u": self.users[u], "i": self.items[i], "t": t, "n": n}
            lines.append(
                self.line.format(**values) if isinstance(self.line, str) else self.line(**values)
            )
        lines[4:4] = self.extra
        text = self.head + "".join(line + self.end for line in lines)
        path = folder / self.file
        path.write_bytes(self.pack(text.encode(self.encoding)))
        for name, content in self.beside.items():
            (folder / name).write_text(content, encoding="utf-8")
        return path


def as_options(options: dict[str, Any]) -> str:
    """Keywords of `load_dataset` as the command line has them, for docs/your-data.md."""
    words = []
    for name, value in options.items():
        if name == "header":
            words.append("--no-header")
        elif value is True:
            words.append(f"--{name.replace('_', '-')}")
        else:
            for each in value if isinstance(value, list) else [value]:
                text = f'"{each}"' if {*" #,"} & {*str(each)} else str(each)
                words.append(f"--{name.replace('_', '-')} {text}")
    return f"`{' '.join(words)}`" if words else "none"


def dated(template: str, pattern: str, zone: float = 0) -> Callable[..., str]:
    """A line with the time as a date in {d}."""
    return lambda u, i, t, n: template.format(u=u, i=i, n=n, t=t, d=moment(t, pattern, zone))


def quoted(u: str, i: str, t: int, n: int) -> str:
    return f'"{u}","{i}","Say ""hi"", n. {n}","{t}"'


def zipped(name: str, beside: str = "README.txt") -> Callable[[bytes], bytes]:
    def pack(data: bytes) -> bytes:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as opened:
            opened.writestr(beside, "what this is\n")
            opened.writestr(name, data)
        return archive.getvalue()

    return pack


AMAZON_USERS = ["A2SUAM1J3GNN3B", "A0001528BGUBOEVR6T5U", "AEVPPTMG43C6GWSR7I2UGDQN7WFQ", "A4"]
ASINS = ["0972683275", "B00002N7J1", "B00YQ6X8EO", "0439886341"]
HASHES = ["-aB3xY_9", "_0Zk-12", "4dF--x", "QQ_qq-"]  # base64, as Yelp and Goodreads have them
TRACKS = ["f1b1cf71", "a7031680", "92ab7098", "16281f07"]
HM_ITEMS = ["0108775015", "0108775044", "0110065001", "0111565001"]


def names(items: list[str], text: str = "Film {}") -> dict[str, str]:
    return {item: text.format(n) for n, item in enumerate(items)}


def json_line(**fields: Any) -> Callable[..., str]:
    """A JSON object a line; values that are functions are called with u, i, t, n."""

    def line(u: str, i: str, t: int, n: int) -> str:
        record = {k: v(u, i, t, n) if callable(v) else v for k, v in fields.items()}
        return json.dumps(record)

    return line


def user(u: str, i: str, t: int, n: int) -> str:
    return u


def item(u: str, i: str, t: int, n: int) -> str:
    return i


def seconds(u: str, i: str, t: int, n: int) -> int:
    return t


def millis(u: str, i: str, t: int, n: int) -> int:
    return 1000 * t


def date(pattern: str) -> Callable[..., str]:
    return lambda u, i, t, n: moment(t, pattern)


DATE_HEAD = "user,item,date\n"
ISO = "%Y-%m-%d %H:%M:%S"
NO_HEADER = {"header": False}

REPLICAS = [
    # MovieLens
    Replica("ml-100k", "u.data", "{u}\t{i}\t3\t{t}"),
    Replica("ml-1m", "ratings.dat", "{u}::{i}::5::{t}", titles=names(BOOKS[:3]),
            beside={"movies.dat": "".join(f"{b}::Film {n}::Drama|War\n"
                                          for n, b in enumerate(BOOKS[:3]))}),
    Replica("ml-20m", "ratings.csv", "{u},{i},3.5,{t}", "userId,movieId,rating,timestamp\n"),
    Replica("ml-25m in a zip", "ml.zip", "{u},{i},3.5,{t}", "userId,movieId,rating,timestamp\r\n",
            end="\r\n", pack=zipped("ml-25m/ratings.csv")),
    Replica("ml-20m, dates", "rating.csv", dated('{u},{i},3.5,"{d}"', ISO),
            '"userId","movieId","rating","timestamp"\n'),
    Replica("movietweetings", "ratings.dat", "{u}::{i}::8::{t}",
            items=["0002844", "0004936", "0004972", "1074638"],
            titles={"0002844": "Fantômas", "0004936": "Short"},
            beside={"movies.dat": "0002844::Fantômas::Crime|Drama\n0004936::Short::\n"}),
    # Amazon
    Replica("amazon 2014", "reviews_Games.json", json_line(
        reviewerID=user, asin=item, reviewerName="J. Doe", helpful=[0, 0], reviewText="fine",
        overall=5.0, summary="ok", unixReviewTime=seconds, reviewTime=date("%m %d, %Y")),
        users=AMAZON_USERS, items=ASINS),
    Replica("amazon 2014, Python literals", "reviews.json.gz", lambda u, i, t, n: repr(
        {"reviewerID": u, "asin": i, "unixReviewTime": t, "summary": "it's"}),
        users=AMAZON_USERS, items=ASINS, pack=gzip.compress),
    Replica("amazon 2014, ratings only", "ratings_Beauty.csv", "{u},{i},5.0,{t}",
            users=AMAZON_USERS, items=ASINS, refused='--no-header --columns "user,item,-,time" ',
            options={**NO_HEADER, "columns": "user,item,-,time"}),
    Replica("amazon 2018", "All_Beauty.json", json_line(
        overall=4.0, verified=True, reviewTime=date("%m %d, %Y"), reviewerID=user, asin=item,
        style={"Color:": "red"}, unixReviewTime=seconds), users=AMAZON_USERS, items=ASINS),
    Replica("amazon 2018, ratings only", "Games.csv", "{i},{u},4.0,{t}",
            users=AMAZON_USERS, items=ASINS, refused="--no-header --columns",
            options={**NO_HEADER, "columns": "item,user,-,time"}),
    Replica("amazon 2023", "All_Beauty.jsonl", json_line(
        rating=5.0, title=lambda u, i, t, n: f"Headline {n}", text="fine", images=[],
        asin=lambda u, i, t, n: f"B0COLOUR{n}", parent_asin=item, user_id=user, timestamp=millis,
        helpful_vote=0, verified_purchase=True), users=AMAZON_USERS, items=ASINS, titles={}),
    Replica("amazon 2023, ratings only", "All_Beauty.csv.gz", "{u},{i},5.0,{t}000",
            "user_id,parent_asin,rating,timestamp\n", users=AMAZON_USERS, items=ASINS,
            pack=gzip.compress),
    # reviews and check-ins
    Replica("steam", "steam.json", lambda u, i, t, n: repr(
        {"username": u, "hours": 1.5, "product_id": i, "page": 1, "text": "it's 'fun'",
         "date": moment(t, "%Y-%m-%d")})),
    Replica("steam, Australian", "aus.jsonl", json_line(
        user_id=user, item_id=item, posted=lambda u, i, t, n: moment(t, "Posted %B %d, %Y.")),
        options={"time_column": "posted"}, users=HASHES, in_order=True),
    Replica("yelp", "review.json", json_line(
        review_id=lambda u, i, t, n: f"r{n}", user_id=user, business_id=item, stars=4.0,
        date=date(ISO), text="good"), users=HASHES, items=HASHES),
    Replica("goodreads", "interactions.json", json_line(
        user_id=user, book_id=item, is_read=True, date_added=date("%a %b %d %H:%M:%S -0700 %Y")),
        users=HASHES),
    Replica("gowalla", "checkins.txt", dated("{u}\t{d}\t30.2\t-97.7\t{i}", "%Y-%m-%dT%H:%M:%SZ"),
            refused="--no-header --columns",
            options={**NO_HEADER, "columns": "user,time,lat,lon,item"}),
    Replica("foursquare NYC", "dataset_TSMC2014_NYC.txt", dated(
        "{u}\t{i}\t4bf58dd8\tArts & Crafts\t40.7\t-74.0\t-240\t{d}", "%a %b %d %H:%M:%S +0000 %Y"),
        items=HASHES, refused="--no-header --columns",
        options={**NO_HEADER, "columns": "user,item,-,-,-,-,-,time"}),
    Replica("bookcrossing", "BX-Book-Ratings.csv", '"{u}";"{i}";"0"',
            '"User-ID";"ISBN";"Book-Rating"\n', items=ASINS, in_order=True, encoding="latin-1"),
    Replica("epinions", "ratings_data.txt", "{u} {i} 4", in_order=True,
            refused='--no-header --columns "user,item,-" ',
            options={**NO_HEADER, "columns": "user,item,-"}),
    Replica("epinions, commas with blanks", "epinions.csv", "{u}, {i}, 4, {t}",
            "user, item, rating, timestamp\n"),
    Replica("douban", "douban.tsv", "{u}\t{i}\t4\t{t}.0",
            "UserId\tItemId\tRating\tTimestamp\n"),
    Replica("netflix, as a table", "netflix.csv", dated("{i},{u},3,{d}", "%Y-%m-%d"),
            refused="--no-header --columns",
            options={**NO_HEADER, "columns": "item,user,rating,time"}),
    # music
    Replica("lastfm 1K", "userid-timestamp-artid.tsv", dated(
        '{u}\t{d}\tart{n}\t"Weird Al\t{i}\t"Heroes', "%Y-%m-%dT%H:%M:%SZ"), items=TRACKS,
        refused="--no-header --columns",
        options={**NO_HEADER, "columns": "user,time,-,-,item,-"}),
    Replica("lastfm 360K", "usersha1-artmbid.tsv", "{u}\t{i}\tartist {n}\t2137",
            users=TRACKS, in_order=True, refused="name it by --user-column|--no-header --columns",
            options={**NO_HEADER, "columns": "user,item,-,-"}),
    Replica("lastfm 2K (HetRec)", "user_taggedartists-timestamps.dat", "{u}\t{i}\t13\t{t}000",
            "userID\tartistID\ttagID\ttimestamp\r\n", end="\r\n"),
    Replica("movielens (HetRec)", "user_ratedmovies.dat",
            dated("{u}\t{i}\t4.5\t{d}", "%d\t%m\t%Y\t%H\t%M\t%S"),
            "userID\tmovieID\trating\tdate_day\tdate_month\tdate_year\tdate_hour\tdate_minute\t"
            "date_second\r\n", end="\r\n"),
    # shops
    Replica("retailrocket", "events.csv", "{t}000,{u},addtocart,{i},",
            "timestamp,visitorid,event,itemid,transactionid\n",
            extra=["1334000000000,1,view,999,", "1334000000001,7,view,104,"],
            options={"where": "event=addtocart,transaction"}, refused="not refused"),
    Replica("yoochoose", "yoochoose-clicks.dat", dated("{u},{d},{i},0", "%Y-%m-%dT%H:%M:%S.000Z"),
            refused="--no-header --columns",
            options={**NO_HEADER, "columns": "user,time,item,-", "separator": ","}),
    Replica("diginetica", "train-item-views.csv", dated("{u};NA;{i};{n};{d}", "%Y-%m-%d"),
            "sessionId;userId;itemId;position;eventdate\n"),
    Replica("rees46", "2019-Oct.csv", dated("{d},view,{i},2.1e18,,,9.5,{u},s{n}", ISO + " UTC"),
            "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,"
            "user_session\n"),
    Replica("taobao", "UserBehavior.csv", "{u},{i},4756105,pv,{t}",
            refused='--no-header --columns "user,item,-,-,time"',
            options={**NO_HEADER, "columns": "user,item,-,act,time", "where": ["act=pv"]}),
    Replica("tmall", "user_log.csv", dated("{u},{i},833,2882,2661,{d},0", "%m%d"),
            "user_id,item_id,cat_id,seller_id,brand_id,time_stamp,action_type\n"),
    Replica("instacart", "order_products.csv", "{u},{i},{n},1",
            "order_id,product_id,add_to_cart_order,reordered\n", in_order=True,
            refused="for user_column: name it by --user-column .*order_id",
            options={"user_column": "order_id", "time_column": "add_to_cart_order"}),
    Replica("h&m", "transactions_train.csv", dated("{d},{u},{i},0.05,2", "%Y-%m-%d"),
            "t_dat,customer_id,article_id,price,sales_channel_id\n", items=HM_ITEMS, users=TRACKS),
    Replica("online retail, csv", "data.csv", dated(
        '536365,{i},"LANTERN, {n}",6,{d},2.55,{u}.0,United Kingdom', "%m/%d/%Y %H:%M"),
        "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n",
        extra=["1,101,X,1,4/9/2012 8:26,1,,France"], encoding="latin-1",
        refused="line 6: the user id is missing .*--drop-missing", options={"drop_missing": True}),
    # news and video
    Replica("mind", "behaviors.tsv", dated("{n}\t{u}\t{d}\t{i}\tN1-0 N2-1", "%m/%d/%Y %I:%M:%S %p"),
            users=["U13740", "U91836", "U73700", "U1"], items=["N55189", "N42782", "N34694", "N4"],
            refused="--no-header --columns",
            options={**NO_HEADER, "columns": "-,user,time,item,-"}),
    Replica("kuairand", "log_standard.csv", dated("{u},{i},{d},1100,{t}123,1", "%Y%m%d"),
            "user_id,video_id,date,hourmin,time_ms,is_click\n",
            extra=["1,101,20220421,900,1650532800123,0"], refused="not refused",
            options={"where": "is_click=1"}),
    Replica("trivago", "train.csv", '{u},s{n},{t},1,clickout item,{i},AU,"Sydney, Australia"',
            "user_id,session_id,timestamp,step,action_type,reference,platform,city\n",
            extra=['1,s1,1541037460,1,search for poi,Newtown,AU,"Sydney, Australia"'],
            refused="--item-column",
            options={"item_column": "reference", "where": "action_type=clickout item"}),
    Replica("google local", "review-Vermont.json.gz", json_line(
        user_id=user, name=lambda u, i, t, n: f"Person {u}", time=millis, rating=5, pics=None,
        resp={"time": 1, "text": "thanks"}, gmap_id=item), pack=gzip.compress, titles={}),
    Replica("food.com", "RAW_interactions.csv", dated(
        '{u},{i},{d},4,"Great.\nI cooked ""it"", twice"', "%Y-%m-%d"),
        "user_id,recipe_id,date,rating,review\n"),
    Replica("goodreads, csv", "goodreads_interactions.csv", "{u},{i},1,5,0",
            "user_id,book_id,is_read,rating,is_reviewed\n", in_order=True),
    Replica("two columns of one name", "log.csv", "{u},{i},x,{t}", "user,item,item,time\n",
            refused="--columns", options={"columns": "user,item,-,time"}),
    Replica("otto, one event a line", "otto.jsonl", json_line(
        session=user, aid=item, ts=millis, type="clicks")),
    Replica("adressa", "20170101.json", json_line(
        eventId=1, userId=user, time=seconds, url="http://x", id=item, active=True),
        options={"item_column": "id"}, refused="for item_column: name it by --item-column"),
    Replica("kuairec", "big_matrix.csv", dated("{u},{i},5838,1.0,{d}.123,20120409,{t}.5", ISO),
            "user_id,video_id,play_duration,watch_ratio,time,date,timestamp\n",
            extra=["1,104,5838,1.0,,,"], refused="line 6: the time is missing .*--drop-missing",
            options={"drop_missing": True}),
    # tools
    Replica("recbole", "toy.inter", "{u}\t{i}\t{t}.0",
            "user_id:token\titem_id:token\ttimestamp:float\n", titles={"101": '"Heat'},
            beside={"toy.item": 'item_id:token\tmovie_title:token_seq\n101\t"Heat\n'}),
    Replica("the authors' pairs", "Beauty.txt", "{u} {i}", in_order=True),
    Replica("uci", "uci.csv", "{u}, {i}, {t}", "user, item, time\n", extra=["?, 101, 5"],
            refused="line 6: the user id is missing .*'[?]'.*--drop-missing",
            options={"drop_missing": True}),
    Replica("bigquery", "bq.csv", dated("{u},{i},{d}", "%Y-%m-%d %H:%M:%S.%f UTC"),
            "user_pseudo_id,item_id,event_timestamp\n"),
    Replica("bigquery, microseconds", "bq.jsonl", json_line(
        user_pseudo_id=user, item_id=item, event_timestamp=lambda u, i, t, n: f"{t}000000")),
    Replica("google analytics", "ga.csv", dated('{u}.5,{i},{d},"1,234"', "%Y%m%d"),
            "# ----\n# All Users\n# ----\n\nClient ID,Page path,Date,Views\n",
            refused="name it by --item-column .*Page path",
            options={"item_column": "Page path"}, real_users=[f"{n}.5" for n in NUMBERS]),
    Replica("postgres copy", "log.tsv", dated("{u}\t{i}\t{d}+00\t\\N", ISO),
            "user_id\titem_id\tcreated_at\tnote\n"),
    Replica("postgres copy with nulls", "log.tsv", dated("{u}\t{i}\t{d}+00", ISO),
            "user_id\titem_id\tcreated_at\n", extra=["\\N\t101\t2012-05-01 00:00:00+00"],
            refused=r"the user id is missing .*--drop-missing", options={"drop_missing": True}),
    Replica("mysql dump", "dump.csv", dated('"{u}","{i}","{d}"', ISO),
            '"user_id","item_id","created_at"\n', extra=['NULL,"101","2012-05-01 00:00:00"',
                                                         '"1","101","0000-00-00 00:00:00"'],
            refused="line 6: the user id is missing .*NULL.*--drop-missing",
            options={"drop_missing": True}),
    Replica("sql char padding", "char.csv", "{u:<10},{i:<12},{t:>12}", "USER_ID,ITEM_ID,TS\n"),
    Replica("pandas with its index", "frame.csv", dated("{n},{u}.0,{i},{d}", ISO),
            ",user_id,item_id,timestamp\n"),
    Replica("excel, German", "Bestellungen.csv", dated("{u};{i};4,5;{d}", "%d.%m.%Y %H:%M"),
            "Kundennummer;Artikelnummer;Preis;Datum\r\n", end="\r\n", encoding="cp1252"),
    Replica("excel, Unicode text", "log.txt", dated("{u}\t{i}\t{d}", "%d/%m/%Y %H:%M:%S"),
            "user\titem\tdate\r\n", end="\r\n", encoding="utf-16"),
    Replica("utf-16 without a mark", "log.csv", "{u},{i},{t}", "user,item,time\n",
            encoding="utf-16-le"),
    Replica("excel, sep=", "log.csv", "{u};{i};{t}", "sep=;\r\nuser;item;time\r\n", end="\r\n",
            encoding="utf-8-sig"),
    Replica("a hash before the header", "log.tsv", "{u}\t{i}\t{t}", "#user_id\titem_id\tts\n"),
    Replica("quotes in quotes", "log.csv", quoted, '"user","item","note","time"\n'),
    Replica("old Mac line ends", "log.csv", "{u},{i},{t}", "user,item,time\r", end="\r"),
    Replica("RFC 2822", "mail.csv", dated('{u},{i},"{d}"', "%a, %d %b %Y %H:%M:%S GMT"), DATE_HEAD),
    Replica("ISO, basic", "basic.csv", dated("{u},{i},{d}", "%Y%m%dT%H%M%SZ"), DATE_HEAD),
    Replica("ISO with zones", "zones.csv", lambda u, i, t, n: (
        f"{u},{i},{moment(t, '%Y-%m-%dT%H:%M:%S%z', n - 5)}"), DATE_HEAD),
    Replica("US dates, two-digit years", "us.csv", dated("{u},{i},{d}", "%m/%d/%y %I:%M %p"),
            DATE_HEAD),
    Replica("before 1970", "old.csv", lambda u, i, t, n: (
        f"{u},{i},{moment(t - 2_000_000_000, ISO)}"), DATE_HEAD),
    Replica("day and time of day", "two.csv", dated("{u},{i},{d}", "%Y-%m-%d,%H:%M"),
            "user,item,date,time\n"),
    Replica("day and hhmmss as numbers", "two.csv", dated("{u},{i},{d}", "%Y%m%d,%H%M%S"),
            "user,item,date,time\n"),
    Replica("seconds and milliseconds", "mixed.csv", lambda u, i, t, n: (
        f"{u},{i},{t * 1000 if n % 2 else t}"), "user,item,timestamp\n"),
    Replica("7 and 7.0", "appended.csv", lambda u, i, t, n: (
        f"{u}.0,{i}.0,{t}" if n % 3 else f"{u},{i},{t}"), "user,item,timestamp\n"),
    Replica("two letters between", "log.csv", "{u}##{i}##{t}", "user##item##time\n",
            refused="--separator", options={"separator": "##"}),
    Replica("two bars between", "log.csv", "{u}||{i}||{t}", "user||item||time\n"),
    Replica("three lines before the header", "log.csv", "{u},{i},{t}",
            "Report of sales\nmade by hand\n\nuser,item,time\n", refused="--skip-lines",
            options={"skip_lines": 2}),
]  # fmt: skip


def load(path: Path, **options: Any) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        return load_dataset(path, min_actions=0, progress=False, **options)


def read(dataset: Dataset) -> dict[str, list[str]]:
    return {
        name: [dataset.item_ids[i] for i in dataset.sequence(u)]
        for u, name in enumerate(dataset.user_ids)
    }


@pytest.mark.parametrize("replica", REPLICAS, ids=lambda r: r.name)
def test_a_replica_is_read_right_or_refused_with_the_way_out(
    tmp_path: Path, replica: Replica
) -> None:
    path = replica.write(tmp_path)
    if replica.refused and replica.refused != "not refused":
        with pytest.raises(DataError, match=replica.refused) as told:
            load(path)
        assert len(str(told.value)) <= 500 and "\n" not in str(told.value)
    dataset = load(path, **replica.options)
    want = truth(replica.real_users or replica.users, replica.real_items or replica.items)
    assert read(dataset) == want
    if replica.titles is None:
        return
    known = dict(zip(dataset.item_ids[1:], (dataset.titles or [])[1:], strict=False))
    for item_id, title in replica.titles.items():
        assert known[item_id] == title
    if not replica.titles:
        assert dataset.titles is None


def test_there_are_sixty_of_them_and_their_names_differ() -> None:
    assert len({replica.name for replica in REPLICAS}) == len(REPLICAS) >= 60


def log_frame() -> Any:
    import pandas

    rows = [(NUMBERS[u], BOOKS[i], t) for (u, i, _), t in zip(LOG, MOMENTS, strict=True)]
    return pandas.DataFrame(rows, columns=["user_id", "item_id", "time"])


FRAMES = {
    "texts": lambda f: f,
    "whole numbers": lambda f: f.astype({"user_id": "int64", "item_id": "int32"}),
    "floats": lambda f: f.astype({"user_id": "float64", "item_id": "float32"}),
    "nullable": lambda f: f.astype({"user_id": "Int64", "item_id": "string"}),
    "categories": lambda f: f.astype({"user_id": "category", "item_id": "category"}),
    "dates": lambda f: f.assign(time=__import__("pandas").to_datetime(f["time"], unit="s")),
    "dates with a zone": lambda f: f.assign(
        time=__import__("pandas")
        .to_datetime(f["time"], unit="s", utc=True)
        .dt.tz_convert("America/New_York")
    ),
    "user as the index": lambda f: f.set_index("user_id"),
    "rows chosen": lambda f: f.set_axis([3] * len(f), axis=0),
}


@pytest.mark.parametrize("form", ["frame", "parquet", "xlsx", "polars", "arrow", "csv", "json"])
@pytest.mark.parametrize("kind", FRAMES)
def test_frames_of_all_types_in_all_forms(tmp_path: Path, kind: str, form: str) -> None:
    frame = FRAMES[kind](log_frame())
    assert read(load_form(frame, form, tmp_path)) == truth(NUMBERS, BOOKS)


def load_form(frame: Any, form: str, folder: Path) -> Dataset:
    if form == "frame":
        return load(frame)
    if form in ("polars", "arrow"):
        if not isinstance(frame.index, type(log_frame().index)) and frame.index.name:
            frame = frame.reset_index()
        frame = frame.reset_index(drop=True)
        if form == "polars":
            return load(pytest.importorskip("polars").from_pandas(frame))
        return load(pytest.importorskip("pyarrow").Table.from_pandas(frame))
    if form == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(folder / "log.parquet")
        return load(folder / "log.parquet")
    if frame.index.name:
        frame = frame.reset_index()
    if form == "csv":
        frame.to_csv(folder / "log.csv", index=False)
        return load(folder / "log.csv")
    if form == "json":
        frame = frame.reset_index(drop=True)
        frame.to_json(folder / "log.jsonl", orient="records", lines=True, date_format="iso")
        return load(folder / "log.jsonl")
    pytest.importorskip("openpyxl")
    if str(getattr(frame["time"].dtype, "tz", None)) != "None":
        frame = frame.assign(time=frame["time"].dt.tz_localize(None))
    frame.to_excel(folder / "log.xlsx", index=False)
    return load(folder / "log.xlsx")


@pytest.mark.parametrize("value", [["a"], {"id": 1}, b"x", True], ids=str)
def test_values_that_are_no_id_are_refused_in_every_form(tmp_path: Path, value: Any) -> None:
    frame = log_frame()
    frame["item_id"] = [value] * len(frame)
    for form in ("frame", "parquet", "polars", "arrow"):
        with pytest.raises(DataError, match="the item is (a list|an object|bytes|a truth value)"):
            load_form(frame, form, tmp_path)


def test_nested_columns_that_are_not_read_do_no_harm(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    frame = log_frame()
    frame["tags"] = [["a", "b"]] * len(frame)
    frame["place"] = [{"lat": 1.5}] * len(frame)
    for form in ("frame", "parquet", "json"):
        assert read(load_form(frame, form, tmp_path)) == truth(NUMBERS, BOOKS)


def test_a_form_without_rows_or_with_lists_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "sessions.jsonl").write_text('{"session": 1, "events": [{"aid": 5, "ts": 7}]}\n')
    with pytest.raises(DataError, match="'events' holds lists: one row for each action"):
        load(tmp_path / "sessions.jsonl")
    (tmp_path / "combined_data_1.txt").write_text("1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n")
    with pytest.raises(DataError) as told:  # Netflix: the film stands on a line of its own
        load(tmp_path / "combined_data_1.txt")
    assert re.search(r"line 1", str(told.value)) and len(str(told.value)) < 500


@pytest.mark.parametrize("cell", ["N{0} N{1}", "[{0}, {1}]", "'{0}|{1}'"])
def test_lists_written_as_text_are_told(tmp_path: Path, cell: str) -> None:
    """As the histories of MIND and the baskets of Instacart's challenge are."""
    rows = [f'1,"{cell.format(n, n + 1)}",{n}' for n in range(5)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *rows]).replace("'", ""))
    with pytest.warns(DataWarning, match=r"look like lists .*one row for each action"):
        load_dataset(tmp_path / "log.csv", min_actions=0)


@pytest.mark.parametrize("items", ["Toy Story {}", "A {}", "85123A-{}", "{}.5", "x[{}]"])
def test_names_are_no_lists(tmp_path: Path, items: str) -> None:
    rows = [f"{u},{items.format(n)},{n}" for u in "ab" for n in range(5)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *rows]))
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        load_dataset(tmp_path / "log.csv", min_actions=0)


def test_the_page_names_the_options_of_every_format() -> None:
    page = (Path(__file__).parents[1] / "docs" / "your-data.md").read_text(encoding="utf-8")
    for replica in REPLICAS:
        row = f"| {replica.name} | `{replica.file}` | {as_options(replica.options)} |"
        assert row in page, row
