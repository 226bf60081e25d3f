"""How surprising letters are, in half bits: made by `benchmarks/garbling/count_letters.py`, never by hand."""

LATIN_COSTS = (
    "caa9heaebfb796dbg797bcfhcd5hdoj"
    "6ehj5hhd6cm6eh6jz8dd7lfobiaggij"
    "6obg7nt57jacji5ioaf79nmlgg9hfkg"
    "6jjd3ief6ehehe7hzbdeaignfi5ncmg"
    "ceaacdcfbhc8a6gci679edgcee4mckm"
    "7jie78gh4knblh5hoada9qlmfm5kelg"
    "6fid4kca7fgbfa8hn8bc8kemeh5hcle"
    "5ilg3jng6kiagd7jpbg9ahhzfm6meoi"
    "ac898bahhda8958cg978fciffb7nekj"
    "4ckc4hhi7ecdgb7bzjcb7ejtge8lfjh"
    "5ggg5ndd7ebbfd6gkba98iezek6ocei"
    "5fha5geg5fg8fh7gnhca9ghqdj6lclf"
    "48ih4ihe7kjebe78pjehajjofm7pdng"
    "7ib77e7f8gdfgb8hmja6adkodf4nbjh"
    "dcaaeachdgc985c9l69a9cciie5obkh"
    "5lcf5hhd9kg8ge6as6d98mjlgh8iehk"
    "9jjfcpkeamzcrjbjhefc1kfzjz8jhrc"
    "6fca5gbh7idebc7hkba9aefndf5kckg"
    "8iah6hga6hccgg9akh96ahfpch4lbog"
    "6kgk5ij86lgfhg7ht8bbahfkdf5mckh"
    "a9bc8ccgagb876faj777ffegge6keqk"
    "4iki3kij5jjfid6mscfickqpdkbhglg"
    "5jif5nl75khdha8hzabicnkncm6vdrk"
    "8abf6ckc6sihbmc6rge5cogddg5icjh"
    "6add8feiaiea9a99zc9acifkhh4xbje"
    "5ehe4nfe5ifedb8gmghc8edzdc8kdvf"
    "9ba8abcdagcabab9hb89ccdjgf3b9rf"
    "lnvrxvlszznypnopznonzzzizz244gz"
    "cggecfhgdnhfgedengefegjlll196pi"
    "9a98bbc9agbc8e96zb68jaagome7czz"
    "dkggdjememecfbeigbdfehzofg5zcz1"
)

SYLLABLES_BY_COST = {
    9: "니다",
    11: "을이지",
    12: "는로를수습시에일자하합",
    13: "가의정파",
    14: "기력리문사스없용은인한",
    15: "나대만면부상서션실않어오옵으음입있출터트패할행",
    16: "값거경고과그동드디름명바번보설성소식아작적전제중치키표프해환",
    17: "내데도들렉령록류메모목미반변여열요위읽절크필했형호",
    18: "각간개구단되된때또라못버복본분비세안야업와우유장재종주준진참처타태함항현",
    19: "공끝널당든래려료링마며무백법생셸신십알었역연원잘접조줄최추활",
    20: "같검게결너더두따러레른발별볼블산선속숫심쓰았예올완임져존체컨코택텍템화확",
    21: "계관근길냅능닌닙됩듭딩램렬룹릭맞매방배불붙빠새색석순쓸운증째찾초포후",
    22: "건것권규급까꿉림립막받브빈술슬씁앞언웨저케탭턴테특퍼페플허헤",
    23: "갑교꾸날닫덮됨뒤떤략르린및범셋약외울움워점졌줍직짐첫청취캐캘퀀큰클큼통혹혼효히",
    24: "감강걸격긴꿈남납넣달돌럼렇롤릿많말먼멈암양영옴웁집짜쪽찬채축칙카커컬콜토폭피픽향",
    25: "갯금깁꿀뀌난났넘네노누뉴님독될둘등량련렸론루릴망맷머물밀삭손애젝족질차춤충칭컴큽팅핑",
    26: "갈겠견괄글께뀐낼논높덱듈뜁락릅묘벗베벳병빌셀송쇄숨쉼압억엘월잠짓짝짧창춘춥켓콘킹탐틀티판편평황회",
    27: "갖깅꼭던덤둡뜨랜런롬맵므벨봅섹쉘슷써쓴씩엔온왼응잡잭침칩칸탬폴폼풀험횟",
    28: "국김끊냈놓놔닥담뒷뢰맨박벤싱쌍씀였옮죽즉총춰큐톱핸홈희",
    29: "객갱곱곳귀극끄끕넌념눕늘닐덧떄떻뛸뜀랫럭롭멤몇뽑뿐샘승얻엄왔웃좋즘쨌천쳐측층친캡탈품학혈홀",
    30: "갔겁겨균깨낸냄듬뜻랩럽률맥묶묻민밑빨삽샷센쉬액앱얼윈율잃좌쥴징책첩쿼킬톰틴틸퓨흔",
    31: (
        "겹괴깊깔꺼꼴뀜뀝끈낡냥넥년눈눔느답덜됐둔득떨렌멀몬뮬밍밖뷰빼쁨살섞섬셈셉셜셰쉽슨썬썼악웠웹윽잇젯죄즈"
        "찰첨캔켜탕펌푸핀홑획훅힌힘"
    ),
    33: (
        "겪곧광궜깝깥껐꽤뀔끌끔끼낮넓눌닉닝댜뎀돈둠듯딜딧떠떼똑띄란렵룰멘몫뭔뮤뱅벡벼봇빙뺀뺍뺐삼섭섯셔솔쇠싸"
        "싼씌엇엽왈육읍잉잔젠좀좁줘찌착척철쳤췄츠칠칼켭콤킂킴킵털투틱팔팝팩펙폿푼픈핫핵햇헙혀협혔휴흐"
    ),
}
