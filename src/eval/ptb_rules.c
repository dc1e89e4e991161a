/* What Stanford's PTBTokenizer (CoreNLP 3.4.1) takes for a token, stated as patterns of our own and checked against its
 * output on captions, prose, program text and generated strings (tests/data/metrics).
 *
 * A letter in a pattern matches both cases, a set is exact. Where only a capital counts, a set says so: "[T]ex." is
 * Texas, "tex." is not an abbreviation. Order matters between rules that match equally far. */
#include "eval/ptb_rules.h"

#define SPACE_SET " %x0009%x00a0%x2000-%x200a%x3000"
#define APOS_SET "'%x0092\u2019"

const oc_lex_macro oc_ptb_macros[] = {
    /* Blanks and ends of lines. */
    {"SPACE", "[" SPACE_SET "]"},
    {"NL", "%x000d|%x000d?%x000a|[%x000b%x000c%x0085%x2028%x2029]"},
    {"BLANK", "{SPACE}|{NL}"},
    /* What must follow an abbreviation for its full stop to end the sentence as well. */
    {"SENTENCE_END", "({BLANK})({BLANK}|%u|{TAG})"},

    /* Markup: <b>, </b>, <br/>, <a href="x">, <!-- -->, <?xml?>. */
    {"TAG_NAME", "[A-Za-z][A-Za-z0-9_:.-]*"},
    {"TAG_ATTR", "{TAG_NAME}( *= *('[^'%x000a%x000d]*'|\"[^\"%x000a%x000d]*\"))?"},
    {"TAG", "<([!?][A-Za-z-][^>%x000a%x000d]*|{TAG_NAME}( +{TAG_ATTR})* */?|/{TAG_NAME}) *>"},

    /* Letters: Java's letters, accented letters as entities, and marks of scripts. */
    {"LETTER", "&[aeiouAEIOU](acute|grave|uml);|"
               "[%l%x00ad%x02c2-%x02c5%x02d2-%x02df%x02e5-%x02eb%x02ed%x02ef-%x036f%x0375%x0378-%x0379"
               "%x0384-%x0385%x03f6%x0483-%x0487%x055a-%x055f%x0591-%x05bd%x05bf%x05c1-%x05c2"
               "%x05c4-%x05c5%x05c7%x0615-%x061a%x064b-%x065e%x0670%x06d6-%x06e4%x06e7-%x06ed"
               "%x06fd-%x06fe%x070f%x0711%x0730-%x074c%x07a6-%x07b0%x07eb-%x07f3%x0900-%x0903%x093c"
               "%x093e-%x094e%x0951-%x0955%x0962-%x0963%x0981-%x0983%x09bc%x09be-%x09c4%x09c7-%x09c8"
               "%x09cb-%x09cd%x09d7%x09e2-%x09e3%x0a01-%x0a03%x0a3c%x0a3e-%x0a4f%x0a81-%x0a83%x0abc"
               "%x0abe-%x0acf%x0b82%x0bbe-%x0bc2%x0bc6-%x0bc8%x0bca-%x0bcd%x0c01-%x0c03%x0c3e-%x0c56"
               "%x0d3e-%x0d44%x0d46-%x0d48%x0e31%x0e34-%x0e3a%x0e47-%x0e4e%x0eb1%x0eb4-%x0ebc"
               "%x0ec8-%x0ecd]"},
    {"WORD", "{LETTER}({LETTER}|%d)*([.!?]{LETTER}({LETTER}|%d)*)*"},

    /* Apostrophes, straight and curly, and what people type instead of one. */
    {"APOS", "[" APOS_SET "]|&apos;"},
    {"APOSLIKE", "{APOS}|[`%x0091\u2018\u201b]"},
    /* 's 'm 'd 're 've 'll, n't */
    {"CLITIC", "{APOS}([msdMSD]|re|ve|ll)"},
    {"NOT", "n{APOSLIKE}t"},
    /* What stands before n't. */
    {"BEFORE_NOT", "[A-Za-z%x00ad]*[A-MO-Za-mo-z]%x00ad*"},

    /* Words with an apostrophe inside that stay whole. */
    {"APOS_WORD",
     "{APOS}n{APOS}?|[lLdDjJ]{APOS}|Dunkin{APOS}|somethin{APOS}|ol{APOS}|{APOS}em|"
     "[A-HJ-XZn]{APOSLIKE}%l{2}%l*|{APOS}[2-9]0s|{APOS}till?|%l%l*[aeiouyAEIOUY]{APOSLIKE}[aeiouA-Z]%l*|"
     "{APOS}cause|c{APOS}mon|e{APOS}er|s{APOS}mores|ev{APOS}ry|li{APOS}l|nat{APOS}l|o{APOSLIKE}o|nor{APOS}easter|cont{APOS}d%."},

    /* Numbers. */
    {"NUM", "%d+|%d*([.:,%x00ad\u066b\u066c]%d+)+"},
    {"NUMBER", "[-+]?{NUM}"},
    {"SUBSUP", "[\u207a\u207b\u208a\u208b]?([\u2070\u00b9\u00b2\u00b3\u2074-\u2079]+|[\u2080-\u2089]+)"},
    {"FRACTION", "(%d{1,4}[- \u00a0])?%d{1,4}(%\\?/|\u2044)%d{1,4}"},
    {"DATE", "%d{1,2}[-/]%d{1,2}[-/]%d{2,4}"},
    {"PHONE", "(%(%d{2,3}%)[ \u00a0]?|(%+%+?)?(%d{2,4}[- \u00a0])?%d{2,4}[- \u00a0])%d{3,4}[- \u00a0]?%d{3,5}|"
              "((%+%+?)?%d{2,4}%.)?%d{2,4}%.%d{3,4}%.%d{3,5}"},

    /* Compounds: a-1-b, d'Arc-x; at most two slashes; A.B.-C.D., 1,000-foot; A&B, A+B. */
    {"PART", "([dDoOlL]{APOSLIKE}[%l%d])?[%l%d]+"},
    {"THING", "{PART}([_\u058a\u2010\u2011-]{PART})*"},
    {"SLASHED", "[A-Za-z0-9]+(-[A-Za-z]+){0,2}(%\\?/[A-Za-z0-9]+(-[A-Za-z]+){0,2}){1,2}"},
    {"ACRONYM", "[A-Za-z](%.[A-Za-z])+|(Canada|Sino|Korean|EU|Japan|non)-U%.S|U%.S%.-(U%.K|U%.S%.S%.R)"},
    {"HYPHENED", "[A-Za-z0-9][A-Za-z0-9.,%x00ad]*(-([A-Za-z0-9%x00ad]+|{ACRONYM}%.))+"},
    {"AMPED", "[A-Z]+(([+&]|&amp;)[A-Z]+)+"},

    /* The net. */
    {"URL_END", "[^ %x0009%x000a%x000c%x000d\"<>|.!?(){},-]"},
    {"URL", "https?://[^ %x0009%x000a%x000c%x000d\"<>|(){}]+{URL_END}"},
    {"SITE", "(www%.([^ %x0009%x000a%x000c%x000d\"<>|.!?(){},]+%.)+[a-zA-Z]{2,4}|"
             "([^ %x0009%x000a%x000c%x000d\"`'<>|.!?(){},-_$]+%.)+(com|net|org|edu))"
             "(/[^ %x0009%x000a%x000c%x000d\"<>|()]+{URL_END})?"},
    {"EMAIL",
     "(<|&lt;)?[a-zA-Z0-9][^ %x0009%x000a%x000c%x000d\"<>|(){}\u00a0]*@"
     "([^ %x0009%x000a%x000c%x000d\"<>|().{}\u00a0]+%.)*[^ %x0009%x000a%x000c%x000d\"<>|().{}\u00a0]+(>|&gt;)?"},
    {"FILE_EXT", "bat|bmp|c|class|cgi|cpp|dll|doc|docx|exe|gif|gz|h|htm|html|jar|java|jpeg|jpg|mov|mp3|pdf|php|pl|"
                 "png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip"},

    /* Abbreviations. The first group may end a sentence, the second (titles and the like) does not. */
    {"ABBR_END",
     "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mon|Tues?|Wed|Thu|Thurs|Fri|"
     "Ala|Ariz|[A]z|[A]rk|Calif|Colo|Conn|Ct|Dak|[D]el|Fla|Ga|[I]ll|Ind|Kans?|Ky|[L]a|[M]ass|Md|Mich|Minn|[M]iss|"
     "Mo|Mont|Neb|Nev|Okla|[O]re|[P]a|Penn|Tenn|[T]ex|Univ|Va|Vt|[W]ash|Wisc?|Wyo|"
     "Inc|Cos?|Corp|Pp?t[ye]s?|Ltd|Plc|Rt|Bancorp|Dept|Bhd|Assn|Intl|Sys|tel|est|ext|sq|"
     "Jr|Sr|Bros|(Ed|Ph)%.D|Blvd|Rd|Esq|etc|al|seq|Bldg"},
    {"ABBR_TITLE",
     "Mr|Mrs|Ms|Drs?|Profs?|Sens?|Reps?|Attys?|Lt|Col|Gen|Messrs|Govs?|Adm|Rev|Maj|Sgt|Cpl|Pvt|Capt|Ste?|Ave|Pres|"
     "Lieut|Hon|Brig|Co?mdr|Pfc|Spc|Supts?|Det|Mt|Ft|Adj|Adv|Asst|Assoc|Ens|Insp|Mlle|Mme|Msgr|Sfc|Ph"},
    {"ABBR_OTHER", "vs|Alex|Wm|Jos|Cie|a%.k%.a|cf|TREAS|Invt|Elec|Natl|M[ft]g"},
    {"ABBR_NUMBER", "ca|figs?|prop|nos?|art|bldg|pp|op"},
    /* Words after which an initial or acronym is taken to have ended the sentence before. */
    {"OPENER",
     "[A]|[A]bout|[A]ccording|[A]dditionally|[A]fter|[A]n|[A]s|[A]t|[B]ut|[E]arlier|[H]e|[H]er|[H]ere|[H]owever|[I]f|[I]n|"
     "[I]t|[L]ast|[M]any|[M]ore|[M]r%.|[M]s%.|[N]ow|[O]nce|[O]ne|[O]ther|[O]ur|[S]he|[S]ince|[S]o|[S]ome|[S]uch|[T]hat|"
     "[T]he|[T]heir|[T]hen|[T]here|[T]hese|[T]hey|[T]his|[W]e|[W]hen|[W]hile|[W]hat|[Y]et|[Y]ou|{TAG}"},

    /* Signs that are a token each. Whatever is in no rule (emoji, control characters) is dropped. */
    {"SYMBOL", "[&'`"
               "%x00a1%x00a5-%x00a9%x00ac%x00ae-%x00b4%x00b6-%x00b9%x00bf%x00d7%x00f7%x037e%x0387%x0589"
               "%x05be%x05c0%x05c3%x05c6%x05f3-%x05f4%x0600-%x0603%x0606-%x060c%x0614%x061b%x061e-%x061f"
               "%x066a%x066d%x06d4%x0700-%x070d%x07f6-%x07f8%x0964-%x0965%x0e3f%x0e4f%x1fbd%x2016-%x2017"
               "%x201a%x201e-%x2023%x2030-%x2038%x203b%x203e-%x2042%x2044%x2070%x2074-%x207e%x2080-%x208e"
               "%x20a4%x2100-%x2101%x2103-%x2106%x2108-%x2109%x2114%x2116-%x2118%x211e-%x2123%x2125"
               "%x2127%x2129%x212e%x213a-%x213b%x2140-%x2144%x214a-%x214d%x214f%x2155-%x215e"
               "%x2190-%x2bff%x3001-%x3002%x3012%x30fb%xff01-%xff0f%xff1a-%xff20%xff3b-%xff40"
               "%xff5b-%xff65%xffe0-%xffe1%xffe5-%xffe6]"},

    /* Faces. */
    {"SMILEY", "[<>]?[:;=][-o*']?[()DPdpO%x005c{@|%x005b%x005d]"},
    {"FACE", "[%x005ex=~<>]%.%x005b%x005ex=~<>%x005d|[-%x005ex=~<>']_[-%x005ex=~<>']|"
             "%([-%x005ex=~<>'][-_.]?[-%x005ex=~<>']%)"},
};
const size_t oc_ptb_n_macros = OC_COUNT(oc_ptb_macros);

const oc_lex_rule oc_ptb_rules[] = {
    /* Two words written as one: the first is taken, the rest is read next. */
    {"cannot", NULL, PTB_TEXT, 3},
    {"gonna|gotta|lemme|gimme|wanna", NULL, PTB_TEXT, 3},
    {"{APOS}t(is|was)", NULL, PTB_QUOTE, 2},

    /* Markup and entities. */
    {"{TAG}", NULL, PTB_RAW, 0},
    {"&(MD|mdash|ndash);|[%x0096%x0097\u2013-\u2015]", NULL, PTB_DASH, 0},
    {"&amp;", NULL, PTB_ENTITY, 0},
    {"&(HT|TL|UR|LR|QC|QL|QR|odq|cdq|#[0-9]+);", NULL, PTB_TEXT, 0},

    /* Words: dog|'s, do|n't, dog, "hall." before a comma (as if it were an abbreviation), y'|all. */
    {"{WORD}", "{CLITIC}", PTB_TEXT, 0},
    {"{BEFORE_NOT}", "{NOT}", PTB_TEXT, 0},
    {"{WORD}", NULL, PTB_TEXT, 0},
    {"{WORD}%.", "[,;:\u3001]", PTB_TEXT, 0},
    {"{APOS_WORD}", NULL, PTB_TEXT, 0},
    {"y{APOS}", "%l", PTB_TEXT, 0},

    /* The net; what is cut off a word by the rules above. */
    {"{URL}", NULL, PTB_RAW, 0},
    {"{SITE}", NULL, PTB_RAW, 0},
    {"{EMAIL}", NULL, PTB_RAW, 0},
    {"@[A-Za-z_][A-Za-z_0-9]*|#({LETTER})+", NULL, PTB_RAW, 0},
    {"{CLITIC}", "[^A-Za-z]", PTB_QUOTE, 0},
    {"{NOT}", "[^A-Za-z]", PTB_QUOTE, 0},

    /* Numbers and money; fixed words; '90 at the end; and/or. */
    {"{DATE}", NULL, PTB_TEXT, 0},
    {"{NUMBER}", NULL, PTB_TEXT, 0},
    {"{SUBSUP}", NULL, PTB_TEXT, 0},
    {"{FRACTION}", NULL, PTB_TEXT, 0},
    {"[\u00bc\u00bd\u00be\u2153-\u215e]", NULL, PTB_FRACTION, 0},
    {"-(RRB|LRB|RCB|LCB|RSB|LSB)-|C%.D%.s|pro-|anti-|S(&|&amp;)P-500|S(&|&amp;)Ls|Cap'n|c'est", NULL, PTB_ENTITY, 0},
    {"{APOS}[0-9][0-9]", "{BLANK}", PTB_TEXT, 0},
    {"{SLASHED}", NULL, PTB_TEXT, 0},
    {"[A-Z]*%$|#", NULL, PTB_TEXT, 0},
    {"[\u00a2\u00a3\u00a4\u00a5%x0080\u20a0\u20ac\u060b\u0e3f\u20a4\uffe0\uffe1\uffe5\uffe6]", NULL, PTB_CURRENCY, 0},

    /* Abbreviations. "etc. The" gives "etc." and ".", "etc. the" only "etc."; of "etc.x" the abbreviation is taken, of
     * "etc.xy" the word, which is longer. Initials and acronyms end a sentence when an OPENER follows. */
    {"({ABBR_END})%.", "{SENTENCE_END}", PTB_PERIOD, 0},
    {"({ABBR_END})%.", "[%x0000-%xffff]{2}", PTB_TEXT, 0},
    {"({ABBR_END})%.", NULL, PTB_PERIOD, 0}, /* the text ends here, or one character later */
    {"([A-Za-z]|{ACRONYM})%.", "({BLANK})+({OPENER})({BLANK})", PTB_INITIAL, 0},
    {"([A-Za-z]|{ABBR_TITLE}|{ABBR_OTHER}|{ACRONYM})%.", NULL, PTB_TEXT, 0},
    {"({ABBR_NUMBER})%.", "({BLANK})?%d", PTB_TEXT, 0},
    {"{PHONE}", NULL, PTB_PARENS, 0},

    /* Punctuation. */
    {"[<>]|&lt;|&gt;", NULL, PTB_ENTITY, 0},
    {"<<|>>", NULL, PTB_TEXT, 0},
    {"%(|%)|%[|%]|%{|%}", NULL, PTB_BRACKET, 0},
    {"-+", NULL, PTB_DASH, 0},
    {"%.{3,5}|(%.[ \u00a0]){2,4}%.|\u2026", NULL, PTB_DOTS, 0},
    {"@+|#+|_+|%*+|(%\\%*){1,3}", NULL, PTB_TEXT, 0},
    {"[,;:\u3001]", NULL, PTB_TEXT, 0},
    {"[.\u00a1\u00bf\u037e\u0589\u061f\u06d4\u0700-\u0702\u07fa\u3002]", NULL, PTB_TEXT, 0},
    {"[?!]+", NULL, PTB_TEXT, 0},
    {"[=/\\%%^|~+]", NULL, PTB_TEXT, 0},

    /* Compounds, file names, faces. */
    {"{THING}", NULL, PTB_TEXT, 0},
    {"{HYPHENED}", NULL, PTB_TEXT, 0},
    {"{AMPED}", NULL, PTB_ENTITY, 0},
    {"({THING}|{HYPHENED}|{AMPED})%.", "[,;:\u3001]", PTB_ENTITY, 0},
    {"({LETTER}|%d)+(%.({LETTER}|%d)+)*%.({FILE_EXT})", "{BLANK}|[.?!,]", PTB_RAW, 0},
    {"{SMILEY}", "[^A-Za-z0-9]", PTB_PARENS, 0},
    {"{FACE}", NULL, PTB_PARENS, 0},

    /* Quotes. A single straight one opens where a letter and something after it follow, a double one where a letter,
     * a digit or $ follows; 's that is not
     * at the end of a word; quotes in pairs. */
    {"'", "[A-Za-z][^ %x0009%x000a%x000d\u00a0]", PTB_OPEN, 0},
    {"{CLITIC}", NULL, PTB_QUOTE, 0},
    {"{NOT}", NULL, PTB_QUOTE, 0},
    {"\"|&quot;", "[A-Za-z0-9$]", PTB_OPEN, 0},
    {"\"|&quot;", NULL, PTB_QUOTE, 0},
    {"{APOS}|''|[`\u2018-\u201f%x0082%x0084%x0091-%x0094\u2039\u203a\u00ab\u00bb]{1,2}", NULL, PTB_QUOTE, 0},

    {"[cC]%+%+|[cCfF]#", NULL, PTB_TEXT, 0},
    {"{SPACE}+", NULL, PTB_SKIP, 0},
    {"{NL}", NULL, PTB_NEWLINE, 0},
    {"&nbsp;", NULL, PTB_SKIP, 0},
    {"{SYMBOL}", NULL, PTB_TEXT, 0},
};
const size_t oc_ptb_n_rules = OC_COUNT(oc_ptb_rules);
