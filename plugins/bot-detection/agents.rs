//! The user agents that Kong takes for bots, from the list of the project ua-parser.
//!
//! Kong has expressions that overlap and take versions apart. Here is what they accept: names that
//! are enough anywhere in a user agent, products that need a version, and patterns for the rest.

use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder};

/// All of them in one expression. A test holds that it can be built.
pub(super) static BOTS: LazyLock<Result<Regex, regex::Error>> = LazyLock::new(|| {
    let mut all: Vec<String> = NAMES.iter().map(|name| regex::escape(name)).collect();
    all.extend(PATTERNS.iter().map(|&pattern| pattern.to_owned()));
    all.push(format!(r"\b(?:{})/[0-9]", PRODUCTS.join("|")));
    RegexBuilder::new(&all.join("|")).unicode(false).build()
});

/// Names, wherever they stand.
#[rustfmt::skip]
const NAMES: &[&str] = &[
    "50.nu", "Aboundex", "AdsBot-Google", "Apache-HttpClient", "AppEngine-Google", "Ask Jeeves",
    "BUbiNG", "BingPreview", "BlogBridge", "Bloglovin", "BoardReader Blog Indexer",
    "BoardReader Favicon Fetcher", "BotName/$BotVersion", "BotSeer", "Catchpoint", "Charlotte",
    "Checklinks", "Cityreview Robot", "Daumoa", "Feed Seeker Bot", "Feedbin", "Finderbots",
    "Flamingo_SearchEngine", "FollowSite Bot", "Genieo", "Go-http-client", "GomezAgent",
    "Google SketchUp", "Google-HTTP-Java-Client", "Googlebot", "HiddenMarket", "HooWWWer",
    "HttpMonitor", "Icarus6j", "IconSurf", "IlTrovatore", "InfuzApp", "InternetArchive", "JNLP",
    "Job Roboter", "KaloogaBot", "Kraken", "Kurzor", "LEIA", "LesnikBot", "Linguee Bot",
    "LinkAider", "LinkedInBot", "Lite Bot", "Llaut", "MJ12bot", "Mail.RU_Bot",
    "Mediapartners-Google", "Mtps Feed Aggregation System", "Netvibes", "NewsGator", "Nutch",
    "Nymesis", "OOZBOT", "ObjectsSearch", "OgScrper", "Orbiter", "PagePeeker", "PagesInventory",
    "PaxleFramework", "Peeplo Screenshot Bot", "PlantyNet_WebRobot", "Pompos", "Python-urllib",
    "Qwantify", "Read%20Later", "Reaper", "RedCarpet", "Retreiver", "Riddler", "Rival IQ",
    "SEOstats", "Scrapy", "Scrubby", "SemrushBot", "SimplePie", "SimpleRSS", "Simpy",
    "SiteCat Webbot", "SiteCon", "Slack-ImgProxy", "Slackbot-LinkExpanding", "Slurp", "Squrl Java",
    "Stringer", "TLSProber", "TheUsefulbot", "ThumbShotsBot", "Thumbshots.ru", "Tiny Tiny RSS",
    "Twitterbot", "URL2PNG", "USyd-NLP-Spider", "Vagabondo", "VoilaBot", "Votay bot", "WIRE",
    "Web-sniffer", "WebThumb", "WhatWeb", "WhatsApp", "WinHTTP", "WordPress", "Wotbox",
    "Xenu Link Sleuth", "Yahoo! Slurp", "YahooSeeker", "YodaoBot", "YottaaMonitor", "Yowedo",
    "ZeBot_www.ze.bz", "ZooShot", "ZyBorg", "aihttp", "altavista", "archiver", "axios", "bingbot",
    "blitzbot", "charlotte", "clumboot", "findlinks", "furlbot", "gigabot", "gonzo1", "grub-client",
    "heritrix", "holmes", "htdig", "http%20client", "ia_archiver", "ichiro", "larbin", "lycos",
    "masidani_bot", "masscan", "mogimogi", "mozDex", "msnbot", "msrbot", "netresearch", "okhttp",
    "reqwest", "scalaj-http", "scooter", "searchsight", "seekbot", "semanticdiscovery", "snappy",
    "unirest-java", "unirest-net", "unirest-nodejs", "unirest-php", "unirest-python",
    "unirest-ruby", "www.almaden.ibm.com", "yacy",
];

/// Names that count when a version follows: `name/0`.
#[rustfmt::skip]
const PRODUCTS: &[&str] = &[
    "008", "Altresium", "Argus", "BaiduMobaider", "BoardReader", "DNSGroup", "DataparkSearch",
    "EDI", "Goodzer", "Grub", "INGRID", "Infohelfer", "LOOQ", "PathDefender", "Peew", "PostPost",
    "Steeler", "VSE", "WebCrunch", "WebZIP", "Y!J-BR[A-Z]", "envolk", "sproose", "wminer",
];

/// What takes more to say. `[A-z]` also holds the six characters between `Z` and `a`.
const PATTERNS: &[&str] = &[
    // What all spiders and crawlers say of themselves.
    r"[Ss][Pp][Ii][Dd][Ee][Rr]|[Ss]crape|[Cc][Rr][Aa][Ww][Ll]",
    r"(?:[Aa]rchiver|[Ii]ndexer|[Bb]ot)[/ ][0-9]",
    r"/(?:[A-z]+[Bb]ot|Axtaris|fetchurl|Isara|ShopSalad|Tailsweep)[ -][0-9]",
    // Names that must stand at the beginning, at the end of a word, or beside something else.
    r"^(?:NING|Zao|vortex|voyager)",
    r"\bYeti|jbot\b|\b\w{0,30}favicon\w{0,30}\b",
    r"Accoona-[A-z]{1,30}-Agent|IP2[a-z]{1,30}Bot|Xerka [A-z]{1,30}Bot|Microsoft .{0,30} Bot",
    r"archive.{0,30}\.org_bot|boitho.com-dc|WASALive.Bot|WeSEE:[A-z]|Yandex\w|Xenu.s Link Sleuth",
    // Tools that count when a version of two numbers follows.
    r"Pingdom\.com_bot_version_[0-9]+\.[0-9]|facebookexternalhit/[0-9]+\.[0-9]",
    r"\b(?:Boto3?|JetS3t|s3fs|aws-cli)/[0-9]+\.[0-9]",
    r"\baws-sdk-(?:cpp|go|java|nodejs|ruby2?|dotnet-(?:[0-9]{1,2}|core))/[0-9]+\.[0-9]",
    r"Google.*/\+/web/snippet",
    r" PTST/[0-9]+\.?[0-9]+$",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_in_order() {
        assert!(NAMES.is_sorted() && PRODUCTS.is_sorted());
    }

    #[test]
    fn bots_are_known_and_people_are_not() {
        let bots = BOTS.as_ref().unwrap();
        for agent in [
            "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
            "Mozilla/5.0 (compatible; YandexBot/3.0)",
            "facebookexternalhit/1.1",
            "aws-cli/1.18.5 Python/3.8",
            "aws-sdk-dotnet-core/3.1",
            "some/Robot-7",
            "Some Bot 7",
            "MySPIDER",
            "webscraper",
            "Mozilla/5.0 Chrome/1 PTST/190704.170731",
            "Vegi bot/1",
            "okhttp/4.9",
            "Go-http-client/1.1",
            "x Y!J-BRW/1.0",
            "voyager/1.0",
            "Xenu's Link Sleuth 1.1c",
        ] {
            assert!(bots.is_match(agent.as_bytes()), "{agent}");
        }
        for agent in [
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/100.0.4896.127",
            "Mozilla/5.0 (Linux; Android 7.0; CUBOT_NOTE_S Build/X) AppleWebKit/537.36",
            "curl/8.5.0",
            "python-requests/2.31",
            "Postman",
            "aws-cli/1",
            "facebookexternalhit",
            "a voyager/1.0",
            "Grub",
            "robot",
        ] {
            assert!(!bots.is_match(agent.as_bytes()), "{agent}");
        }
    }
}
