"""What words say about an image: its contrast, and whether a contrast agent was given.

Scanners, technicians and data sets name contrasts in their own ways. Here is what is known of them,
one pattern a kind of word; names are read as words, never as strings of letters within others.
"""

import re
import unicodedata
from collections.abc import Sequence

CONTRASTS = ("T1", "FLAIR", "T1c", "T2")
OTHER = "other"  # neither of these, and no scan that a network for them can take

_PLANE = r"(?:ax|axial|sag|sagittal|cor|coronal|tra|trans|3d|2d)"
_AGENT = (
    r"gad[a-z]*|gd|gddtpa|gddota|dotarem|clariscan|multihance|magnevist|prohance|omniscan|vueway|"
    r"elucirem|ce|km|kontrast[a-z]*|contrast[a-z]*|mdc|enh|enhanced|enhancement|"
    r"inj|civ|injection|injecte[e]?|delay(?:ed)?|"
    r"(?:post|nach|mit|m|n)(?:gd|gad[a-z]*|km|ce|contrast[a-z]*|kontrast[a-z]*)"
)
_BOTH = (
    r"w[\s_]?(?:/|&|\+|-|and)?[\s_]?w/?o|"
    r"(?:with|mit|con|avec|com)[\s_]?(?:and|&|/|\+|und|y|et|e)[\s_]?"
    r"(?:without|ohne|sin|sans|senza|sem)"
)
_POST = r"post|pos|after|nach|apres|dopo|despues|with|w|mit|avec|con|plus"
_PRE = r"pre|prae|pra|before|vor|fore|foer|voor|avant|prima|antes|przed|pred|innan|inden|ennen"
_WITHOUT = (
    r"without|wo|ohne|sans|sin|sem|senza|zonder|utan|uten|uden|bez|ilman|minus|"
    r"no|non|not|kein|keine"
)
_PLAIN = (
    r"blanco|nativ|native|nativo|basal|basale|unenhanced|nonenhanced|noncontrast|nongad|nogad|"
    r"nogd|nocontrast|"
    r"(?:pre|prae|pra|vor|ohne|o|v)(?:gd|gad[a-z]*|km|ce|contrast[a-z]*|kontrast[a-z]*|inj)"
)
# What else than an agent there may be none of.
_NOT_AGENT = ("fs", "fat", "fatsat", "sat", "mt", "mtc", "gap", "motion", "sense", "angulation")
# After which something may have happened to the patient, rather than an injection.
_EVENT = (
    r"op|ops|operativ[a-z]*|operation|operatorio|operatoire|surg[a-z]*|chirurg[a-z]*|exerese|"
    r"quirurgico|qx|rt|rtx|xrt|radiat[a-z]*|radiothera[a-z]*|radio|bestrahlung|irradiation|srs|"
    r"chemo[a-z]*|treat[a-z]*|tx|therapy|therapie|tmz|avastin|bev|bevacizumab|gamma|gammaknife|gk|"
    r"cyberknife|biopsy|biopsie|bx|sx|rese[ck]t[a-z]*|craniotomy|debulking|litt|laser|rad|"
    r"ictal|partum|trauma|stroke|dbs|implant|processing|processed|proc"
)
_EVENTS = re.compile(rf"(?:{_PRE}|{_POST})(?:{_EVENT}|operat[a-z]*|surg[a-z]*|quirurg[a-z]*)")
_NO_AGENT = re.compile(
    r"|n|nil|null|nan|na|n a|0+( 0+)?( ?ml)?|zero|f|false|(?:none?|not?|nein)\b.*|"
    r"no(?:ne|n)?[ck]on\w*|(?:without|kein\w*|keine?s?|ohne|sans|sin|senza|sem|utan|uten|uden)\b.*|"
    r"w ?o\b.*|nc|unk|unknown|unbekannt|undefined|unspecified|blank|x+|anonym\w*|removed|"
    r"de ?identified|pas de\b.*|nessuno|aucune?|ninguno|geen|ingen|"
    r"(?:pre|prae|vor)\b.*|native?|plain|unenh\w*|"
    r"saline|nacl|o2|oxygen|oral"  # given, and not seen in a head
)

_FLAIR = re.compile(r"(?!non?|t1)\w*flair\w*|t2f|\w*darkfl\w*|dafl|spcir\w*|\w*spacefl")
_T1C = re.compile(r"(?:ct1|cet1|gdt1|gadt1|postt1|kmt1)(?:w|wi)?")
_T1 = re.compile(rf"{_PLANE}?[rse]?t1(?!\d)([a-z0-9+]*)")
_T1_SEQUENCE = re.compile(
    r"(?:3d)?(?:ir)?(?:mp2?rage|f?spgr|bravo|unit1)|(?:mp2?rage|bravo|f?spgr)(km|gd|gad|post|ce)"
)
_T2 = re.compile(rf"{_PLANE}?[rse]?t2(?!\d)([a-z0-9]*)")
_GLUED_AGENT = re.compile(
    r"(?:wi?)?(?:c|ce|cm|pc)\+?|.*(?:gd|gado?|gadolinium|gadovist|km|post|post[a-z]+|contrast|kontrast)"
)
_GLUED_PLAIN = re.compile(r"pra?e|pra|vor|nativ|ohne|sans|without|wo(?!r)|no(?:n|c|gd|gad|km)")
_WITH = ("with", "mit", "avec", "con", "com")
_BEFORE_C = ("t1", "t1w", "w", "with")
_OTHER = re.compile(
    r"\w?adc\w*|\w{0,3}dwi\w*|diff?|diffusion|dti|dki|dsi|noddi|hardi|tensor|trace\w*|b\d{3,4}|"
    r"colfa|swi\w*|swan|swip|venbold|medic|hemo|qsm|[mp]ip|m?inip|mip\w+|tof|mra|mrv|angio\w*|pc3d|"
    r"venogra\w*|arteriogra\w*|perf\w*|pwi|dsc|dce|asl|pcasl|pasl|(?:r|rel)?cb[vf]|(?:rel)?mtt|ttp|tmax|ktrans|pbp|gbp|bold|"
    r"rest\d*|fmri|ep2d|localiz[eo]r\w*|localiser\w*|loc|\w*scout\w*|survey|topogram|posdisp|"
    r"phoenix\w*|smartbrain|calib\w*|shim|fieldmap|fmap|fieldmapping|b1map|subtraction|subtracted|"
    r"subtract|subtr|difference|differenz|ratio|stir|psir|dir|pd|pdw|pdt2|dp|dpw|[rt][12]map|"
    r"relax\w*|[rt][12]rho|t2s|t2star\w*|mrs|press|"
    r"spectro\w*|csi|svs|cest|spine|cervical|thoracic|lumbar|neck|orbits?|iac|iam|sella|"
    r"pituitary|hypophys\w*|map|maps|inv1|inv2|suv|screensave|report"
)
# Words of such images that may also describe one of a contrast that is named beside.
_MAYBE_OTHER = re.compile(
    r"b0|b1|fa|md|rd|gre|phase|pha|mag|magnitude|epi|plan|planning|cal|asset|ct|pet|hsv|screen"
)
# Of a word for one volume brought to another: what follows names the other.
_ONTO = ("to", "into", "onto", "in", "on", "reg", "coreg", "registered", "space", "res")
_NOT_ONTO = ("space", "res")  # a sequence, and the end of `hi res`, where T2 and FLAIR are around
# With T2, of T2*.
_GRADIENT = re.compile(r"f?gre|ffe|fl[23]d\w*|mpgr|merge|flash")


def words_of(text: str) -> list[str]:
    """Splits text into words of letters and digits, lower case.

    `+C`, `C+` and `T2*` become words of their own, as do `C-` (`native`) and `w/o` (`without`).

    Args:
        text: A description, or the name of a file.

    Returns:
        The words in order, of ASCII.

    Example:

    >>> words_of("AX_T1 +C (3D)"), words_of("Visit1_t2_tirm_dark-fluid")
    (['ax', 't1', 'gd', '3d'], ['visit1', 't2', 'tirm', 'darkfluid'])
    """
    text = unicodedata.normalize("NFD", text.lower()).replace("ø", "o").replace("ł", "l")
    text = "".join(letter for letter in text if not unicodedata.combining(letter))
    for pattern, word in (
        (r"(?<![a-z])k\.[\s_]?m\.?", " km "),
        (r"(?<![a-z])([monv])\.[\s_]?km(?![a-z])", r" \1km "),
        (rf"(?<![a-z])for(?=[\s_](?:{_AGENT})(?![a-z]))", " fore "),  # as in Danish
        (r"(?<![a-z])post[\s_]?(?:-|minus)[\s_]?pre?(?![a-z])", " subtraction "),
        # Not of BIDS, where it is a subject.
        (r"(?<![a-z0-9])subs?(?![a-z0-9]|[\s_-]?\d|-[a-z0-9]+_)", " subtraction "),
        (
            rf"(?<![a-z])(?:{_BOTH})(?![a-z])(?:[\s_]?(?:{_AGENT})(?![a-z]))?",
            " ",
        ),  # a protocol of both
        (r"(?<![a-z])(?:w[/-]o|s/c)(?![a-z])", " without "),
        (r"(?<![a-z])w/c(?![a-z])", " gd "),
        (r"(?<![a-z])w/", " with "),
        (r"dark[\s_-]?fl(?:u?id[a-z]*|u|air)?(?![a-z])", " darkfluid "),
        (r"(?<![a-z])da[\s_-]fl(?![a-z])", " dafl "),
        (r"(?<![a-z])spc[\s_-]ir(?![a-z])", " spcir "),
        (r"(?<![a-z0-9])t2[\s_-]?(?:\*|star)", " t2star "),
        (r"(?<![a-z0-9])(t[12])[\s_-](map|rho)", r" \1\2 "),
        (r"(?<![a-z])m\.d\.c\.?", " mdc "),
        (r"\+\s?(?:c|ce|gd|km|gado?|iv|civ|contrast[a-z]*)(?![a-z0-9])", " gd "),
        (r"(?<![a-z0-9])(?:c|ce|gd|km|iv)\s?\+", " gd "),
        (r"(?<![a-z0-9])(t1w?)\s?\+(?=[\s_)]|$)", r"\1 gd "),
        (r"(?<=[\s_])-\s?(?:c|ce|gd|km|iv)(?![a-z0-9])", " native "),
        (r"(?<![a-z0-9])(?:c|ce|gd|km|iv)-(?=[\s_)]|$)", " native "),
        (r"(flair|t1|t2|t1c|t1ce)2(?=t1|t2|flair|mni)", r"\1 to "),
        (r"(?<![a-z])(\d{3,})(?=[a-z])", r"\1 "),
    ):
        text = re.sub(pattern, word, text)
    return re.findall(r"[a-z0-9]+", text)


def _names_agent(word: str) -> bool:
    """Whether a word is one for a contrast agent, or ends in one as `t1ce` and `mpragekm`."""
    if re.fullmatch(rf"{_AGENT}|post|pos|after", word) or _T1C.fullmatch(word):
        return True
    if glued := _T1.fullmatch(word):
        return bool(_GLUED_AGENT.fullmatch(glued[1])) and not _GLUED_PLAIN.search(glued[1])
    sequence = _T1_SEQUENCE.fullmatch(word)
    return bool(sequence and sequence[1])


def enhancement(words: Sequence[str]) -> bool | None:
    """Says whether words tell that a contrast agent was given.

    Before and after an operation is not before and after an injection.

    Args:
        words: Words of `words_of`.

    Returns:
        None where they are silent, or say both.

    Example:

    >>> [enhancement(words_of(text)) for text in ("PRE-OP T1 POST GAD", "T1 PRE", "POST-OP T1")]
    [True, False, None]
    """
    yes = no = False
    place = 0
    while place < len(words):
        word, following = words[place], words[place + 1 : place + 2] or [""]
        event = re.fullmatch(rf"(?:{_EVENT})", following[0])
        if re.fullmatch(rf"{_PRE}|{_POST}", word) and event:
            place += 2
            continue
        if _EVENTS.fullmatch(word):
            pass
        elif re.fullmatch(rf"{_WITHOUT}|{_PRE}", word):
            no |= following[0] not in _NOT_AGENT
            place += bool(re.fullmatch(rf"{_AGENT}|c", following[0]))
        elif re.fullmatch(_PLAIN, word):
            no = True
        elif (
            _names_agent(word)
            or (word in _WITH and not following[0])
            or (word == "c" and words[max(place - 1, 0)] in _BEFORE_C)
        ):
            yes = True
        elif (glued := _T1.fullmatch(word)) and _GLUED_PLAIN.search(glued[1]):
            no = True
        place += 1
    return None if yes == no else yes


def agent_given(agent: str) -> bool:
    """Says whether a ContrastBolusAgent names an agent rather than the lack of one.

    Args:
        agent: Its text, also empty.

    Returns:
        True also for an agent that is not known by name.

    Example:

    >>> agent_given("Gadovist"), agent_given("NONE"), agent_given(" 0 ")
    (True, False, False)
    """
    return not _NO_AGENT.fullmatch(" ".join(re.findall(r"[a-z0-9]+", agent.lower())))


def _is_t1(word: str) -> bool:
    glued = _T1.fullmatch(word)
    return bool((glued and not re.match("map|rho", glued[1])) or _T1C.fullmatch(word))


def kind_of(word: str) -> str | None:
    """Returns what one word says: `T1`, `FLAIR`, `T2`, `other` or None.

    Example:

    >>> [kind_of(word) for word in ("t1ce", "t2w", "adc", "rest1", "patient1")]
    ['T1', 'T2', 'other', 'other', None]
    """
    if _OTHER.fullmatch(word) or _MAYBE_OTHER.fullmatch(word):
        return OTHER
    if _is_t1(word) or _T1_SEQUENCE.fullmatch(word):
        return "T1"
    if _FLAIR.fullmatch(word):
        return "FLAIR"
    return "T2" if _T2.fullmatch(word) else None


def name_contrast(text: str | Sequence[str], agent: str = "") -> str | None:
    """Names the contrast of a series or file by its words.

    Args:
        text: A description, or words of `words_of`.
        agent: The ContrastBolusAgent, for what the words do not say.

    Returns:
        `T1`, `FLAIR`, `T1c`, `T2`, `other` for what is none of them, or None if nothing is said.

    Example:

    >>> names = ("AX T2 FLAIR", "Ax T1 FLAIR", "AX T1 POST GD", "t1 pre contrast", "ADC", "AX")
    >>> [name_contrast(name) for name in names]
    ['FLAIR', 'T1', 'T1c', 'T1', 'other', None]
    """
    words = words_of(text) if isinstance(text, str) else list(text)
    kinds = [kind_of(word) for word in words]
    for place, word in enumerate(words):
        before, behind = set(kinds[:place]) - {None}, set(kinds[place + 1 :]) - {None}
        if word in _NOT_ONTO and before == {"T2"} and "FLAIR" in behind:
            continue
        if word in _ONTO and before and behind:
            words, kinds = words[:place], kinds[:place]
            break
    if any(map(_OTHER.fullmatch, words)) or set(kinds) - {None} == {OTHER}:
        return OTHER
    if any(map(_is_t1, words)) or ("T1" in kinds and not {"T2", "FLAIR"} & set(kinds)):
        if "T2" in kinds:
            return OTHER  # both at once
        enhanced = enhancement(words)
        return "T1c" if enhanced or (enhanced is None and agent_given(agent)) else "T1"
    if "FLAIR" in kinds:
        return "FLAIR"
    if "T2" in kinds:
        return OTHER if any(map(_GRADIENT.fullmatch, words)) else "T2"
    return None
