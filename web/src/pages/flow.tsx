import { Empty } from "../ui/parts";
import type { PageOf, PageProps } from "./page";

function Page({ home }: PageProps) {
  return <Empty why={home.empty["flow"] ?? ""} />;
}

export const flow: PageOf = { path: "flow", nav: "Flow", title: () => "Flow", Page };
