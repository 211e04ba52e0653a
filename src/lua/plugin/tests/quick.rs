//! Short ways into the PDK: they say and do what the rows behind them do.

use super::*;

/// `row` finds the function behind a short way, `told` shows what a call gives or raises.
const BOTH: &str = r"
local function row(f)
  for at = 1, 9 do
    local name, value = debug.getupvalue(f, at)
    if name == 'f' then return value end
  end
end
local function told(f, ...)
  local parts = { pcall(f, ...) }
  for at = 1, 3 do parts[at] = tostring(parts[at]) end
  return table.concat(parts, '|')
end
";

/// The first difference, or `same`.
fn compared(code: &str) -> String {
    let headers = [("x-a", "1"), ("x-a", "2"), ("cookie", "a=b"), ("x-odd", "\u{e9}t\u{e9}")];
    said(&format!("{BOTH}\n{code}"), &exchange("/a%20b/./c?d=e", &headers, ""))
}

#[test]
fn what_plugins_read_the_short_way_is_what_the_rows_say() {
    let code = "
      local cases = {
        { kong.request.get_scheme }, { kong.request.get_host }, { kong.request.get_method },
        { kong.request.get_path }, { kong.request.get_raw_path }, { kong.client.get_ip },
        { kong.client.get_forwarded_ip }, { kong.service.response.get_status },
        { kong.response.get_status }, { kong.response.get_source },
      }
      kong.response.add_header('x-r', 'one')
      kong.response.add_header('x-r', 'two')
      for _, f in ipairs { kong.request.get_header, kong.response.get_header } do
        for _, name in ipairs { 'X-A', 'x_a', 'x-r', 'X_R', 'none', 'Cookie', 'x-odd', '', 'a b',
                                '\\200', 7, true, {} } do
          cases[#cases + 1] = { f, name }
        end
        cases[#cases + 1] = { f }
      end
      for at, case in ipairs(cases) do
        local quick, slow = told(unpack(case)), told(row(case[1]), case[2])
        if type(case[2]) == 'table' then quick, slow = quick:sub(1, 30), slow:sub(1, 30) end
        if quick ~= slow then return said(at, quick, slow) end
      end
      said('same', #cases)";
    assert_eq!(compared(code), "same 38");
}

#[test]
fn what_plugins_set_the_short_way_is_what_the_rows_set() {
    let code = "
      local kits = {
        { kong.service.request.set_header, kong.request.get_header,
          kong.service.request.clear_header },
        { kong.response.set_header, kong.response.get_header, kong.response.clear_header },
      }
      local values = { 'v', ' padded ', '', '  ', 'a\\nb', '\\233', 7, 1.5, true, { 'a', 'b' }, {},
                       ('long'):rep(2000) }
      local count = 0
      for _, kit in ipairs(kits) do
        local set, get, clear = unpack(kit)
        for _, name in ipairs { 'x-new', 'X_New', 'x-a', 'Transfer-Encoding', 'bad name', '', 7 } do
          for at = 1, 13 do
            local seen = {}
            for way, f in ipairs { set, row(set) } do
              pcall(clear, name)
              seen[way] = told(f, name, values[at]) .. told(get, name)
            end
            count = count + 1
            if seen[1] ~= seen[2] then return said(tostring(name), at, seen[1], seen[2]) end
          end
        end
      end
      said('same', count)";
    assert_eq!(compared(code), "same 182");
}

#[test]
fn a_header_that_is_set_the_short_way_replaces_all_of_its_values() {
    let ex = exchange("/", &[("x-a", "1"), ("x-a", "2")], "");
    said("kong.service.request.set_header('X-A', 'new')", &ex);
    let headers = ex.request.headers();
    assert_eq!(headers.get_all("x-a").iter().collect::<Vec<_>>(), ["new"]);
}

#[test]
fn the_short_way_is_open_in_the_phases_of_its_row_alone() {
    let plugins = Plugins::new();
    let plugin = plugins.plugin(
        "function P:header_filter() kong.service.request.set_header('x-late', '1') end",
        json!({}),
    );
    let ex = exchange("/", &[], "");
    let Err(Stop::Fault(fault)) = header_filter(&plugin, &ex) else { panic!("it is allowed") };
    let told = "handler.lua:2: function cannot be called in header_filter phase (only in: \
                rewrite, access, balancer)";
    assert!(fault.to_string().contains(told), "{fault}");
    assert!(ex.request.header("x-late").is_none());
}

#[test]
fn the_limit_on_memory_holds_after_a_text_was_given_the_short_way() {
    let limit = 16 << 20;
    let vm = Vm::new(&Options { memory_limit_bytes: limit, ..Options::default() }).unwrap();
    let ex = exchange("/path", &[], "");
    ex.enter(Phase::Access);
    let greedy = "kong.request.get_path() local t = {}
      for i = 1, 1e9 do t[i] = ('x'):rep(1024) .. i end";
    let run = || vm.lua().load(greedy).exec().unwrap_err().to_string();
    let error = CURRENT.sync_scope(ex, run);
    assert!(error.contains("not enough memory"), "{error}");
}
